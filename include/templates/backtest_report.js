// Draws the report's charts once they come into view, and lists its trades. All data come from the
// page itself; names from outside are only ever set as text.
"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)").matches;
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
  const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif';
  const PAPER = { whole: 690, half: 325 };
  let printing = false;

  // ------------------------------------------------------------------------------- days and times
  const sessions = page.sessions.map((text) => {
    const [year, month, day] = text.split("-").map(Number);
    return { year, month, day, weekday: new Date(Date.UTC(year, month - 1, day)).getUTCDay() };
  });
  const clock = (minute) => {
    const at = 570 + minute;
    return `${String(Math.floor(at / 60)).padStart(2, "0")}:${String(at % 60).padStart(2, "0")}`;
  };
  const shortDay = (s) => `${s.day} ${MONTHS[s.month - 1]}`;
  const fullDay = (s) => `${DAYS[s.weekday]} ${shortDay(s)} ${s.year}`;

  // The x axes of time are categories, so that nights, weekends and holidays take no room.
  const axes = {
    curve: { session: page.curve.session, minute: page.curve.minute },
    sessions: { session: sessions.map((_, i) => i), minute: null },
  };
  for (const axis of Object.values(axes)) {
    axis.labels = axis.session.map((s, i) =>
      axis.minute ? `${fullDay(sessions[s])}, ${clock(axis.minute[i])}` : fullDay(sessions[s]));
    axis.starts = axis.session.flatMap((s, i) => (i === 0 || axis.session[i - 1] !== s ? [i] : []));
  }

  function ticks(axis, low, high, most) {
    const shown = axis.starts.filter((i) => i >= low - 0.5 && i <= high);
    const of = (i) => sessions[axis.session[i]];
    const before = (i) => (i > 0 ? sessions[axis.session[i - 1]] : null);
    const month = (s) => s.year * 12 + s.month;
    const begins = (i, same) => before(i) === null || !same(before(i), of(i));
    const named = (list, label) => (list.length ? { at: list, text: list.map(label) } : null);
    const yearly = (i) => (of(i).month === 1 || i === shown[0]
      ? `${MONTHS[of(i).month - 1]} ${of(i).year}` : MONTHS[of(i).month - 1]);
    if (axis.minute && shown.length <= 2) {
      for (const every of [30, 60, 120]) {
        const list = axis.minute.flatMap((m, i) =>
          (i >= low && i <= high && (m + 570) % every === 0 ? [i] : []));
        const told = named(list, (i) => clock(axis.minute[i]));
        if (told && list.length <= most) return told;
      }
    }
    const months = shown.filter((i) => begins(i, (a, b) => month(a) === month(b)));
    const steps = [
      [shown, (i) => shortDay(of(i))],
      [shown.filter((i) => begins(i, (a, b) => b.weekday > a.weekday)), (i) => shortDay(of(i))],
      [months, yearly],
      [months.filter((i) => of(i).month % 3 === 1), (i) => `${MONTHS[of(i).month - 1]} ${of(i).year}`],
    ];
    for (const [list, label] of steps) {
      if (list.length > 1 && list.length <= most) return named(list, label);
    }
    const thin = Math.max(1, Math.ceil(shown.length / most));
    return named(shown.filter((_, i) => i % thin === 0), (i) => fullDay(of(i))) || { at: [], text: [] };
  }

  // -------------------------------------------------------------------------------------- colours
  const colours = () => page.palettes[dark.matches && !printing ? "dark" : "light"];

  // Returns a copy in which colours by name (@blue) are colours. Only what is a colour by its key is
  // looked at: a name from outside may begin with an @ too.
  function painted(value, palette, isColour = false) {
    if (typeof value === "string") return isColour && value[0] === "@" ? palette[value.slice(1)] : value;
    if (Array.isArray(value)) {
      const plain = !isColour && (value.length === 0 || typeof value[0] !== "object");
      return plain ? value : value.map((item) => painted(item, palette, isColour));
    }
    if (value === null || typeof value !== "object") return value;
    const out = {};
    for (const [key, item] of Object.entries(value)) out[key] = painted(item, palette, /color/i.test(key));
    return out;
  }

  function merged(base, over) {
    const out = { ...base };
    for (const [key, value] of Object.entries(over || {})) {
      const both = value && out[key] && typeof value === "object" && !Array.isArray(value);
      out[key] = both ? merged(out[key], value) : value;
    }
    return out;
  }

  // --------------------------------------------------------------------------------------- charts
  const drawn = new Set();
  const choice = {};
  const range = {};

  function layoutOf(name, box, palette) {
    const chart = page.charts[name];
    const given = chart.layout;
    const axis = axes[chart.axis];
    const line = {
      gridcolor: palette.line, zerolinecolor: palette.faint, zerolinewidth: 1, linecolor: palette.line,
      tickfont: { size: 12 }, automargin: true, fixedrange: true,
      title: { font: { size: 12.5 }, standoff: 8 },
    };
    const legend = { orientation: "h", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom", font: { size: 12.5 } };
    const layout = {
      font: { family: FONT, size: 12.5, color: palette.quiet },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 54, r: 14, t: 14, b: 34 }, bargap: 0.25, legend, uirevision: "keep",
      hoverlabel: {
        bgcolor: palette.page, bordercolor: palette.faint, align: "left",
        font: { family: FONT, size: 12.5, color: palette.text },
      },
      dragmode: axis && !coarse ? "zoom" : false, hovermode: "closest",
    };
    if (printing) layout.width = box.closest(".half") ? PAPER.half : PAPER.whole;
    for (const key of new Set(["xaxis", "yaxis", ...Object.keys(given).filter((k) => /^[xy]axis/.test(k))])) {
      layout[key] = merged(merged(line, key[0] === "x" ? { showgrid: false } : {}), given[key]);
    }
    for (const [key, value] of Object.entries(given)) {
      if (!/^[xy]axis/.test(key)) layout[key] = merged({ value: layout[key] }, { value }).value;
    }
    if (axis) {
      const [low, high] = range[name] || [-0.5, axis.labels.length - 0.5];
      const width = (printing ? layout.width : box.clientWidth) - 70;
      const told = ticks(axis, low, high, Math.max(2, Math.floor(width / 74)));
      Object.assign(layout.xaxis, {
        // A tick's short text would also stand in the hover label of its point; so the title is asked
        // for by its own template, and ticks of sessions stand a little beside them.
        type: "category", fixedrange: coarse, range: [low, high], ticktext: told.text, tickangle: 0,
        tickvals: axis.minute ? told.at : told.at.map((i) => i + 0.1),
        unifiedhovertitle: { text: "%{x}" },
      });
    }
    const names = new Set(chart.traces.filter((t) => t.showlegend !== false && t.name).map((t) => t.name));
    layout.showlegend = given.showlegend !== undefined ? given.showlegend : names.size > 1;
    if (layout.showlegend) layout.margin.t = Math.max(layout.margin.t, 34);
    return painted(layout, palette);
  }

  function tracesOf(name, palette) {
    const chart = page.charts[name];
    const traces = chart.choices[choice[name] || 0].map((i) => chart.traces[i]);
    const axis = axes[chart.axis];
    return traces.map((trace) => {
      const own = { ...painted(trace, palette) };
      if (axis) own.x = axis.labels;
      return own;
    });
  }

  function draw(box) {
    if (!self.Plotly) return;
    const name = box.dataset.chart;
    const palette = colours();
    const first = !drawn.has(box);
    drawn.add(box);
    const layout = layoutOf(name, box, palette);
    const config = { displayModeBar: false, responsive: true, doubleClick: false, scrollZoom: false };
    Plotly.react(box, tracesOf(name, palette), layout, config);
    if (!first) return;
    box.dataset.drawn = "yes";
    if (!axes[page.charts[name].axis]) return;
    box.on("plotly_relayout", (change) => {
      const low = change["xaxis.range[0]"] ?? change["xaxis.range"]?.[0];
      const high = change["xaxis.range[1]"] ?? change["xaxis.range"]?.[1];
      if (low !== undefined && high !== undefined) show(box, Number(low), Number(high));
    });
    box.on("plotly_doubleclick", () => show(box, null));
  }

  function show(box, low, high) {
    const name = box.dataset.chart;
    const before = range[name];
    if (low === null) delete range[name];
    else range[name] = [low, high];
    if (String(before) !== String(range[name])) {
      for (const button of document.querySelectorAll(`[data-ranges="${name}"] button`)) {
        button.setAttribute("aria-pressed", String(low === null && button.dataset.sessions === "0"));
      }
      draw(box);
    }
  }

  const boxes = [...document.querySelectorAll(".plot")];
  const waiting = [];
  function drawNext() {
    const box = waiting.shift();
    if (box && !drawn.has(box)) draw(box);
    if (waiting.length) setTimeout(drawNext);
  }
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watch.unobserve(entry.target);
      if (waiting.push(entry.target) === 1) setTimeout(drawNext);
    }
  }, { root: document, rootMargin: "400px 0px" }); // without a root a frame knows no margin
  // Plotly stands behind this script: reading it takes a second, in which all else works already.
  addEventListener("DOMContentLoaded", () => boxes.forEach((box) => watch.observe(box)));

  const drawAgain = () => drawn.forEach(draw);
  dark.addEventListener("change", drawAgain);
  addEventListener("beforeprint", () => {
    printing = true;
    boxes.forEach(draw);
  });
  addEventListener("afterprint", () => {
    printing = false;
    drawAgain();
    drawn.forEach((box) => Plotly.Plots.resize(box));  // or they keep the paper's width
  });

  for (const select of document.querySelectorAll("[data-choice]")) {
    select.addEventListener("change", () => {
      choice[select.dataset.choice] = Number(select.value);
      boxes.filter((box) => box.dataset.chart === select.dataset.choice).forEach(draw);
    });
  }
  for (const group of document.querySelectorAll("[data-ranges]")) {
    const box = boxes.find((one) => one.dataset.chart === group.dataset.ranges);
    const axis = axes[page.charts[group.dataset.ranges].axis];
    for (const button of group.querySelectorAll("button")) {
      const count = Number(button.dataset.sessions);
      button.hidden = count >= sessions.length && count > 0;
      button.addEventListener("click", () => {
        if (count) show(box, axis.starts[axis.starts.length - count] - 0.5, axis.labels.length - 0.5);
        else show(box, null);
        for (const one of group.querySelectorAll("button")) {
          one.setAttribute("aria-pressed", String(one === button));
        }
      });
    }
  }

  // --------------------------------------------------------------------------- list of sections
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const seen = new Set();
  const where = new IntersectionObserver((entries) => {
    for (const entry of entries) seen[entry.isIntersecting ? "add" : "delete"](entry.target.id);
    const current = [...links.keys()].find((key) => seen.has(key));
    for (const [key, link] of links) {
      if (key === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, { root: document, rootMargin: "-60px 0px -55% 0px" });
  document.querySelectorAll("section").forEach((section) => where.observe(section));

  // ---------------------------------------------------------------------------------------- trades
  const list = document.querySelector("table.trades");
  if (!list) return;
  const trades = page.trades;
  const sessionOf = (row) => {
    let low = 0;
    let high = page.firstRow.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (page.firstRow[middle] <= row) low = middle;
      else high = middle;
    }
    return low;
  };
  const moment = (row) => {
    const s = sessionOf(row);
    return `${page.sessions[s]} ${clock(row - page.firstRow[s])}`;
  };
  const fixed = (digits) => (value) => (value === null ? "–" : value.toLocaleString("en-US",
    { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "\u2212"));
  const signed = (digits) => (value) => (value > 0 ? "+" : "") + fixed(digits)(value);
  const upTo = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 6 });
  const column = (name, from, text, more) => ({ name, from, text, ...more });
  const number = (name, key, text, more) =>
    column(name, (i) => trades[key][i], text, { number: true, ...more });
  const columns = [
    column("Symbol", (i) => page.symbols[trades.symbol[i]], String),
    column("Entered", (i) => trades.entry_row[i], moment),
    column("Left", (i) => trades.exit_row[i], moment),
    column("Minutes", (i) => trades.exit_row[i] - trades.entry_row[i], fixed(0), { number: true }),
    number("Shares", "shares", upTo),
    number("Paid", "entry_price", fixed(3)),
    number("Got", "exit_price", fixed(3)),
    number("Costs", "cost", fixed(2)),
    number("USD", "profit", signed(2), { toned: true }),
    number("bps", "bps", signed(1), { toned: true }),
    number("Score", "entry_score", fixed(3)),
    column("Why sold", (i) => trades.reasons[trades.exit_reason[i]] || "", String),
  ];
  const PAGE = 20;
  const all = trades.symbol.map((_, i) => i);
  const words = [];
  let found = all;
  let at = 0;
  let sorted = { column: 1, down: false };

  const wordsOf = (i) => (words[i] ??= [0, 1, 2, 11].map((c) =>
    columns[c].text(columns[c].from(i))).join(" ").toLowerCase());

  function find() {
    const asked = document.getElementById("trades-search").value.trim().toLowerCase();
    const which = document.getElementById("trades-which").value;
    found = all.filter((i) =>
      (!which || (which === "won") === (trades.profit[i] > 0)) && (!asked || wordsOf(i).includes(asked)));
    const { from } = columns[sorted.column];
    const sign = sorted.down ? -1 : 1;
    found.sort((a, b) => {
      const [x, y] = [from(a), from(b)];
      if (x === y) return a - b;
      if (x === null || y === null) return x === null ? 1 : -1;
      return x < y ? -sign : sign;
    });
    at = 0;
    fill();
  }

  function fill() {
    const rows = found.slice(at, at + PAGE).map((i) => {
      const row = document.createElement("tr");
      for (const { from, text, number: isNumber, toned } of columns) {
        const cell = document.createElement("td");
        const value = from(i);
        cell.textContent = text(value);
        cell.className = (isNumber ? "n " : "") + (toned ? (value < 0 ? "bad" : "good") : "");
        row.append(cell);
      }
      return row;
    });
    list.tBodies[0].replaceChildren(...rows);
    const last = Math.min(at + PAGE, found.length);
    document.getElementById("trades-where").textContent = found.length
      ? `${(at + 1).toLocaleString("en-US")} to ${last.toLocaleString("en-US")} of ${found.length.toLocaleString("en-US")}`
      : "no trade fits";
    document.getElementById("trades-before").disabled = at === 0;
    document.getElementById("trades-after").disabled = last >= found.length;
  }

  const heads = columns.map(({ name, number: isNumber }, c) => {
    const head = document.createElement("th");
    const button = document.createElement("button");
    head.scope = "col";
    if (isNumber) head.className = "n";
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", () => {
      sorted = { column: c, down: sorted.column === c ? !sorted.down : Boolean(isNumber) };
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      find();
    });
    head.append(button);
    return head;
  });
  heads[1].setAttribute("aria-sort", "ascending");
  list.tHead.rows[0].replaceChildren(...heads);

  // A cell that begins like a formula would be run by a spreadsheet; an apostrophe makes it text.
  const quoted = (text) => `"${(/^[=+\-@\t\r\n]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  function csv() {
    const lines = [columns.map(({ name }) => quoted(name)).join(",")];
    for (const i of found) {
      lines.push(columns.map(({ from, text, number: isNumber }) => {
        const value = from(i);
        return isNumber ? (value === null ? "" : String(value)) : quoted(text(value));
      }).join(","));
    }
    return `${lines.join("\r\n")}\r\n`;
  }

  document.getElementById("trades-search").addEventListener("input", find);
  document.getElementById("trades-which").addEventListener("change", find);
  document.getElementById("trades-before").addEventListener("click", () => { at -= PAGE; fill(); });
  document.getElementById("trades-after").addEventListener("click", () => { at += PAGE; fill(); });
  const save = document.getElementById("trades-save");
  // A sandbox forbids downloads, and says so only on its console; the text can be copied there.
  save.hidden = self.origin === "null" && location.protocol !== "file:";
  save.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = "trades.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
  const area = document.getElementById("trades-csv");
  document.getElementById("trades-text").addEventListener("click", ({ currentTarget }) => {
    area.hidden = !area.hidden;
    area.value = area.hidden ? "" : csv();
    currentTarget.setAttribute("aria-expanded", String(!area.hidden));
    if (!area.hidden) area.select();
  });
  fill();
})();
