// Draws the Mermaid diagrams of a page, and draws them again when the theme changes.
(() => {
  const blocks = [...document.querySelectorAll("pre.mermaid")].map((element) => ({ element, text: element.textContent }));
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => {
    const theme = document.body.dataset.theme;
    return theme === "dark" || (theme !== "light" && system.matches);
  };
  let drawn = null;
  const draw = async () => {
    if (drawn === dark()) return;
    drawn = dark();
    mermaid.initialize({ startOnLoad: false, securityLevel: "strict", theme: drawn ? "dark" : "neutral" });
    for (const { element, text } of blocks) {
      element.removeAttribute("data-processed");
      element.textContent = text;
    }
    await mermaid.run({ nodes: blocks.map((block) => block.element) });
  };
  draw();
  system.addEventListener("change", draw);
  new MutationObserver(draw).observe(document.body, { attributeFilter: ["data-theme"] });
})();
