"use strict";
(async () => {
  const page = document.documentElement;
  const all = (query, within = document) => [...within.querySelectorAll(query)];

  const unpacked = async (id) => {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };

  // ---- tables: a click on a header sorts, a second one the other way round; blanks stay last
  const key = (row, column) => {
    const cell = row.cells[column];
    const number = cell.dataset.number;
    return number === undefined ? cell.querySelector("span").textContent.toLowerCase() : Number(number);
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b
      : String(a).localeCompare(String(b), "en", { numeric: true });
  const sort = (header) => {
    const table = header.closest("table");
    const body = table.tBodies[0];
    const descending = header.getAttribute("aria-sort") === "ascending";
    const rows = [...body.rows].map((row) => [key(row, header.cellIndex), row]);
    const isBlank = ([value]) => value === "" || value === "–" || Number.isNaN(value);
    const blank = rows.filter(isBlank);
    const full = rows.filter((row) => !isBlank(row));
    full.sort(([a], [b]) => (descending ? compare(b, a) : compare(a, b)));
    body.append(...[...full, ...blank].map(([, row]) => row));
    all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  };
  all(".sort").forEach((button) => button.addEventListener("click", () => sort(button.closest("th"))));

  // ---- light and dark
  const themes = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  const remembered = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const setTheme = (theme) => {
    if (theme === "auto") delete page.dataset.theme; else page.dataset.theme = theme;
    button.textContent = `theme: ${theme}`;
    try { localStorage.setItem("theme", theme); } catch { /* a file may have no storage */ }
  };
  setTheme(themes.includes(remembered()) ? remembered() : "auto");
  button.addEventListener("click", () => {
    setTheme(themes[(themes.indexOf(button.textContent.slice(7)) + 1) % 3]);
    paint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint());

  // ---- data
  const { csv, figures } = JSON.parse(await unpacked("data"));
  all("[data-csv]").forEach((one) => one.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff", csv[one.dataset.csv]], { type: "text/csv" }));
    link.download = `${one.dataset.csv}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }));

  // ---- figures
  const plots = all("[data-figure]");
  const colours = () => {
    const style = getComputedStyle(page);
    const of = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: of("--line"), linecolor: of("--soft"), zerolinecolor: of("--line") };
    return { text: of("--text"), back: of("--back"), axis };
  };
  const painted = (layout) => {
    const { text, back, axis } = colours();
    const found = { ...layout, paper_bgcolor: back, plot_bgcolor: back, font: { color: text, size: 13 } };
    for (const name of Object.keys(layout).filter((one) => /^[xy]axis\d*$/.test(one))) {
      found[name] = { ...axis, ...layout[name] };
    }
    return found;
  };
  const config = {
    displaylogo: false, plotlyServerURL: "", responsive: true,
    modeBarButtonsToRemove: ["sendChartToCloud", "lasso2d", "select2d"],
  };
  const chosen = {};  // by figure: the panel that is seen
  const hidden = {};  // by figure: the names that are not, also in another panel and theme
  const groupsOff = (name, traces) => new Set(traces
    .filter((trace) => trace.meta && (hidden[name] ??= new Set()).has(trace.meta.legend))
    .map((trace) => trace.legendgroup));
  let width;  // of the paper, while it is printed
  const paintOne = (plot) => {
    const name = plot.dataset.figure;
    const { traces, layout } = figures[name][chosen[name] ?? 0];
    const off = groupsOff(name, traces);
    const now = traces.map((trace) => ({ ...trace, visible: !off.has(trace.legendgroup) }));
    window.Plotly.react(plot, now, painted({ ...layout, width, showlegend: false }), config);
  };
  const seen = new Set();  // a figure is drawn when it comes near the window
  const paint = () => seen.forEach(paintOne);

  const legend = (plot) => {
    const name = plot.dataset.figure;
    const named = figures[name][chosen[name] ?? 0].traces.filter((trace) => trace.meta);
    plot.parentElement.querySelector(".legend")?.remove();
    if (named.length < 2) return;
    const list = document.createElement("fieldset");
    const title = document.createElement("legend");
    list.className = "legend";
    title.textContent = "show";
    list.append(title);
    const every = document.createElement("button");
    every.type = "button";
    every.textContent = "all or none";
    every.addEventListener("click", () => {
      const names = named.map((trace) => trace.meta.legend);
      hidden[name] = new Set(hidden[name].size ? [] : names);
      show(plot);
      plot.parentElement.querySelector(".legend button").focus();
    });
    list.append(every);
    for (const trace of named) {
      const label = document.createElement("label");
      const box = document.createElement("input");
      const mark = document.createElement("i");
      box.type = "checkbox";
      box.checked = !(hidden[name] ??= new Set()).has(trace.meta.legend);
      mark.style.borderTop = `.25rem ${{ solid: "solid", dash: "dashed", dot: "dotted" }[trace.line.dash] ?? "solid"} ${trace.line.color}`;
      label.append(box, mark, trace.meta.legend);
      box.addEventListener("change", () => {
        if (box.checked) hidden[name].delete(trace.meta.legend); else hidden[name].add(trace.meta.legend);
        paintOne(plot);
      });
      list.append(label);
    }
    plot.after(list);
  };
  const show = (plot) => { seen.add(plot); paintOne(plot); legend(plot); };
  if (plots.length) {
    const script = document.createElement("script");
    script.textContent = await unpacked("plotly");
    document.head.append(script);
    const observer = new IntersectionObserver((entries) => entries
      .filter((entry) => entry.isIntersecting && !seen.has(entry.target))
      .forEach(({ target }) => { seen.add(target); paintOne(target); }), { rootMargin: "600px" });
    plots.forEach(legend);
    plots.forEach((plot) => observer.observe(plot));
    all("[data-panels]").forEach((menu) => menu.addEventListener("change", () => {
      chosen[menu.dataset.panels] = Number(menu.value);
      show(plots.find((plot) => plot.dataset.figure === menu.dataset.panels));
    }));
  }

  // ---- print: what is folded is open, and figures are light
  const PAPER = 690;  // CSS pixels between the margins of A4 and of US letter
  let closed = [];
  let theme;
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    closed.forEach((one) => { one.open = true; });
    theme = page.dataset.theme;
    page.dataset.theme = "light";
    width = PAPER;
    plots.forEach((plot) => seen.add(plot));
    paint();
  });
  addEventListener("afterprint", () => {
    closed.forEach((one) => { one.open = false; });
    if (theme) page.dataset.theme = theme; else delete page.dataset.theme;
    width = undefined;
    paint();
  });
  page.dataset.ready = "true";
})();
