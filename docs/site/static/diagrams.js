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
    const style = getComputedStyle(document.body);
    const color = (name) => style.getPropertyValue(`--color-${name}`).trim();
    const themeVariables = {
      darkMode: drawn,
      background: color("background-primary"),
      primaryColor: color("background-primary"),
      primaryBorderColor: color("brand-primary"),
      primaryTextColor: color("foreground-primary"),
      lineColor: color("foreground-secondary"),
      tertiaryColor: color("background-secondary"),
      clusterBkg: color("background-secondary"),
      clusterBorder: color("background-border"),
      edgeLabelBackground: color("background-primary"),
    };
    mermaid.initialize({ startOnLoad: false, securityLevel: "strict", theme: "base", themeVariables });
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
