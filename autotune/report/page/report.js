(() => {
  'use strict';
  const boxes = [...document.querySelectorAll('.plot')];
  const printWidth = 680; // CSS pixels of an A4 page between its margins
  const printHeight = 860; // what a caption leaves of its height
  const titleLetter = 8.4; // CSS pixels of a letter of an axis' title
  const read = (box) => JSON.parse(document.getElementById(`data-${box.id}`).textContent);
  const config = {
    responsive: true, displaylogo: false, displayModeBar: matchMedia('(hover: hover)').matches ? 'hover' : false,
    modeBarButtons: [['toImage', 'zoom2d', 'pan2d', 'resetScale2d']],
  };

  // a title that is longer than its axis would be cut off at the edge of a phone
  function wrapTitles(box) {
    const wrapped = {};
    for (const [name, axis] of Object.entries(box._fullLayout).filter(([key]) => /^xaxis\d*$/.test(key))) {
      const letters = Math.floor(axis._length / titleLetter);
      const text = axis.title.text || '';
      if (text.length <= letters || text.includes('<br>')) continue;
      const lines = [''];
      for (const word of text.split(' ')) {
        const longer = `${lines[lines.length - 1]} ${word}`.trim();
        if (longer.length <= letters) lines[lines.length - 1] = longer;
        else lines.push(word);
      }
      wrapped[`${name}.title.text`] = lines.filter(Boolean).join('<br>');
    }
    if (Object.keys(wrapped).length) Plotly.relayout(box, wrapped);
  }

  // panels side by side stand below each other on a phone; null where there are none
  function stacked(data, layout) {
    const used = new Set(data.map((trace) => `xaxis${(trace.xaxis || 'x').slice(1)}`)); // a grid may have empty places
    const panels = [...used].filter((x) => layout[x] && layout[x].domain).map((x) => {
      const y = `yaxis${(layout[x].anchor || 'y').slice(1)}`;
      return { x, y, left: layout[x].domain[0], top: (layout[y].domain || [0, 1])[1] };
    }).sort((a, b) => b.top - a.top || a.left - b.left);
    const rows = new Set(panels.map((panel) => panel.top)).size;
    if (panels.length < 2 || rows === panels.length) return null;
    const copy = structuredClone(layout);
    let title = {};
    panels.forEach(({ x, y, left }, i) => {
      const end = 1 - i / panels.length;
      copy[x].domain = [0, 1];
      copy[y].domain = [end - 0.7 / panels.length, end];
      if (left === 0) title = copy[y].title || {};
      if (!(copy[y].title || {}).text) copy[y].title = structuredClone(title);
      copy[y].showticklabels = true;
    });
    for (const note of copy.annotations || []) { // the titles of panels
      if (note.xref !== 'paper' || note.yref !== 'paper') continue;
      const at = panels.findIndex(({ x, top }) => Math.abs(top - note.y) < 0.01
        && layout[x].domain[0] <= note.x && note.x <= layout[x].domain[1]);
      if (at >= 0) { note.x = 0.5; note.y = 1 - at / panels.length; }
    }
    copy.height = (layout.height * panels.length) / rows;
    for (const key of Object.keys(copy)) if (/^xaxis\d*$/.test(key) && !used.has(key)) copy[key].visible = false;
    return copy;
  }

  const arrange = new Map(); // how a figure of a phone becomes that of a sheet of paper, and back

  function draw(box, width) {
    if (box.dataset.drawn) return;
    box.dataset.drawn = 'yes';
    const { data, layout: made } = read(box);
    const narrow = !width && box.parentElement.clientWidth < 500;
    const below = narrow ? stacked(data, made) : null;
    // what stands in the cells needs no scale beside them
    for (const trace of data) if (narrow && trace.texttemplate) trace.showscale = false;
    const layout = below || made;
    if (below) { box.classList.add('stacked'); box.style.height = `${below.height}px`; }
    if (narrow) arrange.set(box, (paper) => Plotly.react(box, data, structuredClone(paper ? made : layout), config));
    box.style.minHeight = '0';
    Plotly.newPlot(box, data, structuredClone(width ? { ...layout, width } : layout), config);
    wrapTitles(box);
  }

  // what is in sight first, the rest while nothing else is to be done: the page opens at once
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: '200px' });
  boxes.forEach((box) => seen.observe(box));
  const idle = window.requestIdleCallback || ((step) => setTimeout(step, 50));
  const rest = () => {
    const next = boxes.find((box) => !box.dataset.drawn);
    if (next) { draw(next); idle(rest); }
  };
  addEventListener('load', () => setTimeout(() => idle(rest), 300));

  addEventListener('beforeprint', () => {
    for (const box of boxes) {
      draw(box, printWidth);
      box.dataset.height = parseFloat(box.style.height);
      if (arrange.has(box)) arrange.get(box)(true);
      const height = box.classList.contains('stacked') ? box.layout.height : parseFloat(box.style.height);
      // two figures of the usual height with their captions on a page, and none longer than a page
      const printed = Math.min(height <= 500 ? 0.78 * height : height, printHeight);
      box.style.height = `${printed}px`;
      Plotly.relayout(box, { width: printWidth, height: printed });
    }
  });
  addEventListener('afterprint', () => {
    for (const box of boxes) {
      box.style.height = `${box.dataset.height}px`;
      if (arrange.has(box)) arrange.get(box)(false);
      Plotly.relayout(box, { width: null, height: Number(box.dataset.height), autosize: true });
      wrapTitles(box);
    }
  });

  const table = document.getElementById('trials-table');
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const texts = new Map(); // made when they are first filtered: a page of 1,000 rows opens sooner
  const textOf = (row) => {
    if (!texts.has(row)) {
      const cells = [...row.cells].filter((cell) => !cell.classList.contains('more'));
      texts.set(row, cells.map((cell) => cell.textContent).join(' ').toLowerCase());
    }
    return texts.get(row);
  };
  const value = (row, column) => {
    const cell = row.cells[column];
    const raw = cell.dataset.v;
    return raw === undefined ? cell.textContent.trim() : raw === '' ? null : Number(raw);
  };
  const compare = (a, b) => (typeof a === 'number' && typeof b === 'number'
    ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
  table.tHead.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button) return;
    const head = button.closest('th');
    const down = head.getAttribute('aria-sort') === 'ascending';
    for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    rows.sort((a, b) => {
      const [x, y] = [value(a, head.cellIndex), value(b, head.cellIndex)];
      if (x === null || y === null) return (x === null) - (y === null); // what is not known comes last
      return down ? compare(y, x) : compare(x, y);
    });
    body.append(...rows);
  });

  const wanted = document.getElementById('trials-filter');
  const state = document.getElementById('trials-state');
  const shown = document.getElementById('trials-shown');
  const filter = () => {
    const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const fits = (!state.value || row.dataset.state === state.value) && words.every((word) => textOf(row).includes(word));
      row.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${rows.length} trials shown`;
    if (at.parentElement.hidden) moveTo(lines()[1] || lines()[0], at.cellIndex, false);
  };

  // one stop of the Tab key for the whole table, by the pattern "grid" of the ARIA authoring practices
  const pageRows = 10;
  let at = rows[0].cells[0];
  const lines = () => [table.tHead.rows[0], ...[...body.rows].filter((row) => !row.hidden)];
  const targetOf = (cell) => cell.querySelector('button, summary') || cell;
  const linksOf = (cell) => cell.parentElement.querySelectorAll('details a');
  function moveTo(row, column, focus = true) {
    targetOf(at).tabIndex = -1;
    for (const link of linksOf(at)) link.tabIndex = -1;
    at = row.cells[Math.max(0, Math.min(column, row.cells.length - 1))];
    const target = targetOf(at);
    target.tabIndex = 0;
    for (const link of linksOf(at)) link.tabIndex = 0;
    if (!focus) return;
    target.style.scrollMarginTop = `${table.tHead.offsetHeight}px`; // what is sticky hides nothing
    target.style.scrollMarginRight = at.nextElementSibling ? `${row.lastElementChild.offsetWidth}px` : '0';
    target.focus();
  }
  for (const target of table.querySelectorAll('button, summary, a')) target.tabIndex = -1;
  table.setAttribute('role', 'grid');
  table.parentElement.removeAttribute('tabindex');
  moveTo(rows[0], 0, false);
  table.addEventListener('focusin', (event) => { // by the mouse too
    const cell = event.target.closest('td, th');
    if (cell && cell !== at && event.target === targetOf(cell)) moveTo(cell.parentElement, cell.cellIndex, false);
  });
  table.addEventListener('keydown', (event) => {
    if (event.target !== targetOf(at) || event.altKey || event.metaKey || event.shiftKey) return;
    const places = lines();
    const [line, column] = [places.indexOf(at.parentElement), at.cellIndex];
    const last = places.length - 1;
    const step = {
      ArrowUp: [line - 1, column], ArrowDown: [line + 1, column], ArrowLeft: [line, column - 1], ArrowRight: [line, column + 1],
      PageUp: [Math.min(line, Math.max(1, line - pageRows)), column], PageDown: [line + pageRows, column],
      Home: [event.ctrlKey ? Math.min(1, last) : line, 0], End: [event.ctrlKey ? last : line, Infinity],
    }[event.key];
    if (step) moveTo(places[Math.max(0, Math.min(step[0], last))], step[1]);
    else if ((event.key === 'Enter' || event.key === ' ') && event.target === at && line > 0) {
      const details = at.parentElement.querySelector('details');
      details.open = !details.open;
    } else return;
    event.preventDefault();
  });

  wanted.addEventListener('input', filter);
  state.addEventListener('change', filter);
})();
