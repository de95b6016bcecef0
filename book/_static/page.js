// What the pages need of a script beside the theme's.
(() => {
  "use strict";

  // In place of the theme's inline handler, which the pages' policy forbids (book/_ext/policy.py).
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-print]")) window.print();
  });

  // Formulas wider than the page scroll in their own box: those, and no others, can be reached by key.
  const watch = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    await document.fonts.ready;
    for (const box of document.querySelectorAll("div.math, mjx-container[display='true']")) watch.observe(box);
  });
})();
