// Five durable steps on Restate, as near as its model comes to five Pass and Choice states: each
// `run` is a step whose result is journalled before the next begins. Listens on port 9080.
import * as restate from "@restatedev/restate-sdk";

// Node 20 lacks it, and the kit needs it.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new this((a, b) => ([resolve, reject] = [a, b]));
  return { promise, resolve, reject };
};

const bench = restate.service({
  name: "bench",
  handlers: {
    five: async (ctx, input) => {
      let value = input;
      for (let step = 0; step < 5; step++) {
        value = await ctx.run(`step ${step}`, () => value);
      }
      return value;
    },
    one: async (ctx, input) => ctx.run("step", () => input),
  },
});

restate.endpoint().bind(bench).listen(9080);
