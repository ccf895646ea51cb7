// Keys, the theme, the way back, and times in words. Everything else is NiceGUI's work.
(() => {
  const two = (number) => String(number).padStart(2, "0");

  function elapsed(milliseconds) {
    const seconds = Math.max(0, Math.floor(milliseconds / 1000));
    if (seconds < 60) return `${seconds} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`;
    return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  }

  function ago(milliseconds) {
    const seconds = Math.round(milliseconds / 1000);
    if (seconds < -5) return `in ${elapsed(-milliseconds)}`;
    if (seconds < 10) return "just now";
    if (seconds < 60) return `${Math.floor(seconds / 10) * 10} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    if (seconds < 86400 * 30) return `${Math.floor(seconds / 86400)} d ago`;
    return null;
  }

  let clock = null; // one for the page: a tick redraws what grows, and nothing else

  window.videojobs = {
    elapsed,
    now() {
      if (clock === null) {
        clock = Vue.ref(Date.now());
        setInterval(() => (clock.value = Date.now()), 1000);
      }
      return clock.value;
    },
    relative(iso) {
      const at = new Date(iso);
      const said = ago(window.videojobs.now() - at.getTime());
      return said ?? at.toLocaleDateString(undefined, { dateStyle: "medium" });
    },
    whole(iso) {
      return new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
    },
  };

  const isTyping = (element) => element.closest("input, textarea, select, [contenteditable]");

  function step(by) {
    const links = [...document.querySelectorAll(".vj-job .job-link")];
    if (!links.length) return;
    const row = document.activeElement.closest?.(".vj-job");
    const at = row ? links.indexOf(row.querySelector(".job-link")) : -1;
    const next = at < 0 && by < 0 ? links.length - 1 : at + by;
    const link = links[Math.max(0, Math.min(links.length - 1, next))];
    link.focus();
    link.closest(".vj-job").scrollIntoView({ block: "nearest" });
  }

  const press = (selector) => document.querySelector(selector)?.click();

  const KEYS = {
    "/": () => document.getElementById("vj-search-field")?.focus(),
    j: () => step(1),
    k: () => step(-1),
    x: () => document.activeElement.closest?.(".vj-job")?.querySelector(".job-pick")?.click(),
    "?": () => press(".vj-keys"),
    Escape: () => press(".vj-escape"),
  };

  // Back to the list as it was left, with its filters and its page.
  const LIST = "videojobs-list";
  const goBack = (event) => {
    if (event.target.closest?.(".job-link")) sessionStorage.setItem(LIST, location.href);
    const back = event.target.closest?.(".vj-back");
    const list = sessionStorage.getItem(LIST);
    if (back && list && new URL(list).pathname === new URL(back.href).pathname) back.href = list;
  };
  document.addEventListener("click", goBack, true);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector(".q-dialog")) return; // a dialog has its own Esc
    if (isTyping(event.target) && event.target.type !== "checkbox") {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const act = KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
})();
