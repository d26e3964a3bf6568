// The whole script: theme, fragments that are fetched again, copying, keys, previews. Every page works without it.
// It stands in the head and runs before the first paint, so that a chosen theme does not flash. It holds no words:
// those are in the templates, in data attributes.
(() => {
  const root = document.documentElement;
  const kept = (() => {
    try {
      return window.localStorage;
    } catch {
      return {}; // storage is forbidden: choices last for this page
    }
  })();
  const find = (what, where = document) => [...where.querySelectorAll(what)];
  const show = () => {
    if (kept.theme) root.dataset.theme = kept.theme;
    else delete root.dataset.theme;
    root.toggleAttribute("data-dense", kept.dense === "on");
  };
  show();

  const tell = (words) => {
    const told = document.getElementById("told");
    if (told) told.textContent = words;
  };

  // Parts of a page: <div data-live="URL" data-every="1000">.
  const swap = (part, html) => {
    const phase = () => part.querySelector("[data-phase]")?.textContent.trim() ?? "";
    const logs = find("[data-log]", part).map((log) => [log.scrollTop, log.scrollHeight - log.clientHeight - log.scrollTop < 8]);
    const open = find("details[id]", part).filter((each) => each.open).map((each) => each.id);
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    const before = phase();
    part.innerHTML = html;
    find("[data-log]", part).forEach((log, number) => {
      const [top, atEnd] = logs[number] ?? [0, true];
      log.scrollTop = atEnd ? log.scrollHeight : top;
    });
    open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    if (focused) document.getElementById(focused)?.focus();
    reveal(part);
    if (phase() !== before) tell(phase());
  };

  const follow = (part) => {
    const every = Number(part.dataset.every) || 1000;
    let failures = 0;
    let tag = "";
    let good = new Date();
    let notice = null;
    const judge = () => {
      const stale = failures > 2;
      part.toggleAttribute("data-stale", stale);
      if (!stale) {
        notice?.remove();
        notice = null;
      } else if (!notice) {
        notice = document.createElement("p");
        notice.className = "banner warn";
        notice.setAttribute("role", "status");
        notice.textContent = document.body.dataset.staleWords.replace("%", good.toTimeString().slice(0, 8));
        part.before(notice);
      }
    };
    const look = async () => {
      try {
        const headers = tag ? { "If-None-Match": tag } : {};
        const answer = await fetch(part.dataset.live, { headers, redirect: "manual", signal: AbortSignal.timeout(15000) });
        if (answer.status === 286 || answer.type === "opaqueredirect") return location.reload();
        if (!answer.ok && answer.status !== 304) throw new Error(String(answer.status));
        if (answer.status === 200) {
          tag = answer.headers.get("ETag") || "";
          swap(part, await answer.text());
        }
        failures = 0;
        good = new Date();
      } catch {
        failures += 1;
      }
      judge();
      wait();
    };
    const wait = () =>
      setTimeout(() => {
        if (!document.hidden) return look();
        document.addEventListener("visibilitychange", look, { once: true });
      }, Math.min(every * 2 ** failures, 30000));
    wait();
  };

  // <form data-preview="URL" data-preview-into="ID">: what would come of it, as one types. Secrets are not sent.
  const preview = (form) => {
    const into = document.getElementById(form.dataset.previewInto);
    let timer = 0;
    let asked = new AbortController();
    const ask = async () => {
      asked.abort();
      const mine = (asked = new AbortController());
      const body = new URLSearchParams(new FormData(form));
      find("[type=password],[type=file]", form).forEach((field) => body.delete(field.name));
      try {
        const answer = await fetch(form.dataset.preview, { method: "POST", body, redirect: "error", signal: mine.signal });
        if (!answer.ok) throw new Error(String(answer.status));
        if (answer.status === 200) swap(into, await answer.text());
        into.removeAttribute("data-stale");
      } catch {
        if (!mine.signal.aborted) into.setAttribute("data-stale", "");
      }
    };
    const later = () => {
      clearTimeout(timer);
      timer = setTimeout(ask, 400);
    };
    form.addEventListener("input", later);
    form.addEventListener("change", later);
  };

  const copy = async (button) => {
    const source = button.dataset.copy ? document.getElementById(button.dataset.copy) : button.parentElement.querySelector("code");
    const text = source.value ?? source.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without TLS there is no clipboard for scripts: the text is selected and copied as by hand.
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.classList.add("done");
    tell(document.body.dataset.copiedWords);
    setTimeout(() => button.classList.remove("done"), 2000);
  };

  // What works with the script only stands hidden in the page.
  const reveal = (where) => {
    find("[data-copy],[data-js],[data-all]", where).forEach((each) => each.removeAttribute("hidden"));
  };

  const choose = (input) => {
    if (input.value === "") delete kept[input.dataset.keep];
    else kept[input.dataset.keep] = input.value;
    show();
  };

  // Keys: `/` searches, `g o`, `g r`, `g b` go, `?` tells; all of them can be switched off (WCAG 2.1.4).
  let began = 0;
  const press = (event) => {
    if (kept.keys === "off" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input,textarea,select,dialog,[contenteditable]")) return;
    const isSecond = Date.now() - began < 1500;
    began = event.key === "g" ? Date.now() : 0;
    if (isSecond) {
      find("[data-go]").find((each) => each.dataset.go === event.key)?.click();
    } else if (event.key === "/") {
      const field = find("[data-search],input[type=search]")[0];
      if (!field) return;
      event.preventDefault();
      field.focus();
    } else if (event.key === "?") {
      document.getElementById("keys")?.showModal();
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    reveal(document);
    find("[data-live]").forEach(follow);
    find("form[data-preview]").forEach(preview);
    find("[data-keep]").forEach((input) => {
      input.checked = input.value === (kept[input.dataset.keep] ?? "");
      input.addEventListener("change", () => choose(input));
    });
    find("[data-focus]")[0]?.focus();
    document.addEventListener("keydown", press);
    document.addEventListener("click", (event) => {
      const on = (what) => event.target.closest(what);
      if (on("[data-copy]")) copy(on("[data-copy]"));
      else if (on("[data-dismiss]")) on("[data-dismiss]").parentElement.remove();
      else if (on("[data-dialog]")) document.getElementById(on("[data-dialog]").dataset.dialog).showModal();
      else if (on("[data-all]")) {
        const all = on("[data-all]");
        find(`input[name="${all.dataset.all}"]`, all.form ?? document).forEach((each) => (each.checked = all.checked));
      }
    });
  });
})();
