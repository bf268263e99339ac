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

  // A log that goes on: new lines at the end, the oldest leave.
  const log = document.querySelector("[data-log-from]");
  if (log && window.EventSource) {
    const wanted = log.dataset.logWith.toLowerCase();
    const state = document.getElementById("live-state");
    const kinds = { stdout: "out", stderr: "err", ark: "ark" };
    log.scrollTop = log.scrollHeight;
    const seen = new Set();
    const source = new EventSource(log.dataset.logFrom);
    addEventListener("pagehide", () => source.close());
    // This stream begins at the beginning: what the server printed of it comes again.
    let anew = "logWhole" in log.dataset;
    source.addEventListener("open", () => {
      state.textContent = "Live";
      if (anew) log.replaceChildren();
      anew = false;
    });
    source.addEventListener("ended", () => source.close());
    source.addEventListener("error", () => { state.textContent = "Connection lost; trying again"; });
    source.addEventListener("line", (event) => {
      const line = JSON.parse(event.data);
      // After a lost connection a line may come twice.
      const key = `${line.at} ${line.instance} ${line.text}`;
      if (seen.has(key)) return;
      seen.add(key);
      if (seen.size > 4000) seen.clear();
      if (wanted && !line.text.toLowerCase().includes(wanted)) return;
      document.getElementById("no-lines")?.remove();
      const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 30;
      const row = document.createElement("p");
      row.className = kinds[line.stream] ?? "out";
      const time = document.createElement("time");
      time.dateTime = line.at;
      time.className = "clock";
      const name = document.createElement("b");
      name.textContent = line.instance;
      row.append(time, " ", name, " ", line.text);
      dress(row);
      log.append(row);
      while (log.childElementCount > 2000) log.firstElementChild.remove();
      if (atEnd) log.scrollTop = log.scrollHeight;
    });
  }

  // Live: something happened, so the page is fetched again and its live parts are exchanged.
  const from = document.body.dataset.liveFrom;
  if (!from || !window.EventSource) return;
  const state = document.getElementById("live-state");
  const say = (words) => { if (state.textContent !== words) state.textContent = words; };
  let busy = false, again = false;
  const shown = new Map(all("[data-live]").map((part) => [part.id, part.outerHTML]));
  const refresh = async () => {
    if (busy || document.hidden) { again = true; return; }
    busy = true;
    again = false;
    try {
      const answer = await fetch(location.href, { headers: { "x-live": "1" } });
      if (answer.status === 401) { location.reload(); return; }
      if (answer.status === 404) { say("It is gone; this is what was known last"); return; }
      if (!answer.ok) { say("The server could not say; trying again"); return; }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of all("[data-live]")) {
        const next = fresh.getElementById(part.id);
        // Somebody who types is not disturbed, and loses nothing.
        const typing = part.querySelector("input:focus, textarea:focus, select:focus") || all("input, textarea", part).some((field) => field.value !== field.defaultValue);
        if (!next || shown.get(part.id) === next.outerHTML || typing) continue;
        shown.set(part.id, next.outerHTML);
        const open = new Set(all("details[open][id]", part).map((d) => d.id));
        const focused = part.contains(document.activeElement) ? document.activeElement : null;
        const key = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.getAttribute("href") && `a[href="${CSS.escape(focused.getAttribute("href"))}"]`);
        dress(next);
        for (const d of all("details[id]", next)) if (open.has(d.id)) d.open = true;
        part.replaceWith(next);
        if (key) next.querySelector(key)?.focus({ preventScroll: true });
      }
      say("Live");
    } catch { say("Connection lost; trying again"); }
    // Bursts of events are one look; a page never asks more than once in 1.5 s.
    finally { setTimeout(() => { busy = false; if (again) refresh(); }, 1500); }
  };
  let events = null;
  const follow = () => {
    events = new EventSource(from);
    events.addEventListener("open", () => say("Live"));
    events.addEventListener("event", refresh);
    events.addEventListener("error", () => say("Connection lost; trying again"));
  };
  if (!document.hidden) follow();
  addEventListener("pagehide", () => events?.close());
  // A page in the background follows nothing, and catches up when it is looked at.
  document.addEventListener("visibilitychange", () => {
    events?.close();
    if (document.hidden) return;
    follow();
    refresh();
  });
  // Figures change without events.
  setInterval(refresh, 10000);
})();
