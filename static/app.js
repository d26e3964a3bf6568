// The whole script: the theme, and parts of a page that are fetched again while they change. Every page works without.
(() => {
  const theme = localStorage.theme;
  if (theme) document.documentElement.dataset.theme = theme;

  const follow = (part) => {
    let failures = 0;
    let tag = "";
    const wait = () => setTimeout(look, Math.min(1000 * 2 ** failures, 30000));
    const look = async () => {
      if (document.hidden) return wait();
      try {
        const answer = await fetch(part.dataset.live, { headers: { "If-None-Match": tag } });
        if (answer.status === 286) return location.reload();
        if (!answer.ok && answer.status !== 304) throw new Error(answer.status);
        failures = 0;
        if (answer.status === 200) {
          tag = answer.headers.get("ETag") || "";
          part.innerHTML = await answer.text();
        }
      } catch {
        failures += 1;
      }
      part.toggleAttribute("data-stale", failures > 2);
      wait();
    };
    wait();
  };
  document.querySelectorAll("[data-live]").forEach(follow);
})();
