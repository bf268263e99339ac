// What the pages gain with script; every one of them reads and works without.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Exact instants in the reader's zone.
  const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false });
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const dress = (root) => {
    for (const time of all("time", root)) {
      const at = new Date(time.dateTime);
      time.title = zone.format(at);
      if (time.classList.contains("clock")) time.textContent = clock.format(at);
      if (time.classList.contains("date")) time.textContent = day.format(at);
    }
    for (const code of all("code.command", root)) {
      if (code.nextElementSibling?.classList.contains("copy") || !navigator.clipboard) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      code.after(button);
    }
  };
  dress(document);

  // A form is sent once, and says so while its answer is on the way.
  addEventListener("submit", (event) => {
    if (event.target.getAttribute("aria-busy") === "true") event.preventDefault();
    else event.target.setAttribute("aria-busy", "true");
  });

  // A page that is kept for going back must not keep its stream: browsers allow six at a time. When
  // somebody comes back it is shown as it is by then.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  // What is wrong with a stream or a look at the server is said as long as it is so.
  const state = document.getElementById("live-state");
  const troubles = new Map();
  const tell = (who, words) => {
    if (words) troubles.set(who, words); else troubles.delete(who);
    const [said = "Live"] = troubles.values();
    if (state.textContent !== said) state.textContent = said;
  };
  const LOST = "Connection lost; trying again";

  // A stream of the server, while its page is looked at: browsers allow six connections to a server, and a
  // page in the background needs none. `at` gives its address after the last id that was seen.
  const follow = (at, events, opened) => {
    let source = null, last = "", wait = 0, pause = 4000, over = false;
    const open = () => {
      clearTimeout(wait);
      source?.close();
      if (over || document.hidden) return;
      const own = new EventSource(at(last));
      source = own;
      own.addEventListener("open", () => { pause = 4000; tell(at, ""); opened?.(last); });
      own.addEventListener("error", () => {
        tell(at, LOST);
        // One that was refused is not opened again by the browser.
        if (own.readyState === EventSource.CLOSED) { clearTimeout(wait); wait = setTimeout(probe, pause); pause = Math.min(2 * pause, 60000); }
      });
      for (const [name, act] of Object.entries(events)) own.addEventListener(name, (event) => {
        const before = last;
        last = event.lastEventId || last;
        if (act(event, before) === false) { over = true; own.close(); }
      });
    };
    const probe = async () => {
      try {
        const answer = await fetch(location.href, { headers: { "x-live": "1" } });
        if (answer.status === 401) { location.reload(); return; }
      } catch { /* The next try says so again. */ }
      open();
    };
    addEventListener("pagehide", () => { clearTimeout(wait); source?.close(); });
    document.addEventListener("visibilitychange", open);
    open();
  };

  // A log that goes on: new lines at the end, the oldest leave.
  const log = document.querySelector("[data-log-from]");
  if (log && window.EventSource) {
    const wanted = log.dataset.logWith.toLowerCase();
    const kinds = { stdout: "out", stderr: "err", ark: "ark" };
    // Such a stream begins at the beginning, and goes on exactly where it was; one of an app goes on with all
    // lines of the last seconds, seen or not: instances are not read at one pace.
    const whole = "logWhole" in log.dataset;
    const at = (last) => {
      const address = log.dataset.logFrom;
      return last ? `${address}${address.includes("?") ? "&" : "?"}last=${encodeURIComponent(last)}` : address;
    };
    const key = (line) => `${line.at} ${line.instance} ${line.stream} ${line.text}`;
    // Lines that came lately, and how often each of them may come again.
    let lately = [], known = new Map();
    const opened = (last) => {
      if (whole && !last) log.replaceChildren();
      known = new Map();
      if (whole || last === "") return;
      for (const line of lately) known.set(line, (known.get(line) ?? 0) + 1);
    };
    const add = (row) => {
      const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 30;
      log.append(row);
      while (log.childElementCount > 2000) log.firstElementChild.remove();
      if (atEnd) log.scrollTop = log.scrollHeight;
    };
    const put = (line) => {
      if (wanted && !line.text.toLowerCase().includes(wanted)) return;
      document.getElementById("no-lines")?.remove();
      const row = document.createElement("p");
      row.className = kinds[line.stream] ?? "out";
      const time = document.createElement("time");
      time.dateTime = line.at;
      time.className = "clock";
      const name = document.createElement("b");
      name.textContent = line.instance;
      row.append(time, " ", name, " ", line.text);
      dress(row);
      add(row);
    };
    const take = (event) => {
      const line = JSON.parse(event.data), name = key(line), times = known.get(name) ?? 0;
      if (times) { known.set(name, times - 1); return; }
      lately.push(name);
      // As many as are sent again at most.
      if (lately.length > 20000) lately = lately.slice(-10000);
      put(line);
    };
    const missed = () => {
      const row = document.createElement("p");
      row.className = "ark";
      row.textContent = "Lines may be left out here: more came while nobody looked than are kept or sent again.";
      add(row);
    };
    log.scrollTop = log.scrollHeight;
    follow(at, { line: take, missed, ended: () => false }, opened);
  }

  // Live: something happened, so the page is fetched again and its live parts are exchanged.
  const from = document.body.dataset.liveFrom;
  if (!from || !window.EventSource) return;

  // The thing of a fetched part that is what this is in the part before: by what it does, not by its place
  // alone, or a key that is pressed would do something else.
  const same = (thing, part, next) => {
    const does = (one) => one.id || one.getAttribute("href") || one.getAttribute("formaction")
      || (one.matches(".copy") ? one.previousElementSibling?.textContent : one.closest("details[id]")?.id)
      || one.getAttribute("aria-labelledby") || one.getAttribute("aria-label") || one.textContent;
    const like = (root) => all(thing.tagName, root).filter((one) => does(one) === does(thing));
    return like(next)[like(part).indexOf(thing)];
  };
  // What was read out before is not read out again: how long ago it was does not make it new.
  const hush = (part, next) => {
    const loud = (root) => all('[role="alert"], [role="status"], [data-told]', root);
    const words = (one) => {
      const copy = one.cloneNode(true);
      for (const time of all("time", copy)) time.remove();
      return copy.textContent;
    };
    const told = new Set(loud(part).map(words));
    for (const one of loud(next)) {
      if (!told.has(words(one))) continue;
      one.removeAttribute("role");
      one.dataset.told = "";
    }
  };
  const exchange = (part, next) => {
    const open = new Set(all("details[open][id]", part).map((d) => d.id));
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const scrolled = all(".scroll, pre", part).map((one) => [one.scrollLeft, one.scrollTop]);
    dress(next);
    const again = focused && focused !== part ? same(focused, part, next) : null;
    hush(part, next);
    for (const d of all("details[id]", next)) if (open.has(d.id)) d.open = true;
    part.replaceWith(next);
    all(".scroll, pre", next).forEach((one, index) => {
      const [left, top] = scrolled[index] ?? [0, 0];
      if (left || top) one.scrollTo({ left, top, behavior: "instant" });
    });
    again?.focus({ preventScroll: true });
  };

  let busy = false, again = false;
  const shown = new Map(all("[data-live]").map((part) => [part.id, part.outerHTML]));
  const refresh = async () => {
    if (busy || document.hidden) { again = true; return; }
    busy = true;
    again = false;
    try {
      const answer = await fetch(location.href, { headers: { "x-live": "1" } });
      if (answer.status === 401) { location.reload(); return; }
      if (answer.status === 404) { tell(refresh, "It is gone; this is what was known last"); return; }
      if (!answer.ok) { tell(refresh, "The server could not say; trying again"); return; }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of all("[data-live]")) {
        const next = fresh.getElementById(part.id);
        // Somebody who types is not disturbed, and loses nothing.
        const typing = part.querySelector("input:focus, textarea:focus, select:focus") || all("input, textarea", part).some((field) => field.value !== field.defaultValue);
        if (!next || shown.get(part.id) === next.outerHTML || typing) continue;
        shown.set(part.id, next.outerHTML);
        exchange(part, next);
      }
      tell(refresh, "");
    } catch { tell(refresh, LOST); }
    // Bursts of events are one look; a page never asks more than once in 1.5 s.
    finally { setTimeout(() => { busy = false; if (again) refresh(); }, 1500); }
  };
  follow(() => from, { event: refresh });
  // A page in the background catches up when it is looked at.
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  // Figures change without events.
  setInterval(refresh, 10000);
})();
