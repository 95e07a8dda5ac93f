'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const detail = document.getElementById('detail');

  const element = (name, text, cls) => {
    const e = document.createElement(name);
    e.textContent = text;
    if (cls) e.className = cls;
    return e;
  };

  const aboutEnd = (role, f, i) => {
    const p = element('p', '', 'about');
    p.append(element('b', role + ' ' + f.names[i]), '\n' + f.about[i]);
    return p;
  };

  const answerAt = (f, row, column) =>
    row === column && f.self.includes(row) ? 0 : f.cells[f.block[row]][f.block[column]];

  const show = (f, row, column) => {
    const number = answerAt(f, row, column);
    const answer = document.getElementById('a' + number).cloneNode(true);
    answer.removeAttribute('id');
    detail.replaceChildren(element('h2', f.names[row] + ' → ' + f.names[column]), answer,
      aboutEnd('From', f, row), aboutEnd('To', f, column));
  };

  const start = (figure) => {
    const f = data.figures[figure.id];
    const cells = figure.querySelector('.cells');
    const cursor = cells.querySelector('.cursor');
    const [across, down, cell] = cursor.children;
    const heads = (cls) => figure.querySelectorAll('.' + cls + ' text[data-i]');
    const rows = heads('rows'), columns = heads('columns');
    const last = f.names.length - 1;
    let row = 0, column = 0, chosen = false;

    const move = (r, c) => {
      rows[row].classList.remove('on');
      columns[column].classList.remove('on');
      row = Math.min(Math.max(r, 0), last);
      column = Math.min(Math.max(c, 0), last);
      rows[row].classList.add('on');
      columns[column].classList.add('on');
      across.setAttribute('y', row * f.height);
      down.setAttribute('x', column * f.width);
      cell.setAttribute('x', column * f.width);
      cell.setAttribute('y', row * f.height);
      cursor.setAttribute('visibility', 'visible');
    };

    const at = (event) => {
      const box = cells.getBoundingClientRect();
      return [Math.floor((event.clientY - box.top) / f.height), Math.floor((event.clientX - box.left) / f.width)];
    };

    // Without a script the areas are links to their answers, each a stop of the Tab key.
    for (const a of cells.querySelectorAll('a')) a.tabIndex = -1;

    cells.addEventListener('pointermove', (event) => { if (!chosen) move(...at(event)); });
    cells.addEventListener('click', (event) => {
      event.preventDefault();
      const [r, c] = at(event);
      chosen = !(chosen && r === row && c === column);
      move(r, c);
      show(f, row, column);
      cells.focus({ preventScroll: true });
    });
    cells.addEventListener('focus', () => move(row, column));
    cells.addEventListener('keydown', (event) => {
      const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -last], End: [0, last],
        PageUp: [-10, 0], PageDown: [10, 0], Enter: [0, 0], ' ': [0, 0] };
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      chosen = true;
      move(row + step[0], column + step[1]);
      show(f, row, column);
      reveal(figure, cell);
    });
  };

  // reveal scrolls a cell out from under the heads.
  const reveal = (figure, cell) => {
    const scroll = figure.querySelector('.scroll');
    const box = cell.getBoundingClientRect(), view = scroll.getBoundingClientRect();
    const corner = figure.querySelector('.corner').getBoundingClientRect();
    if (box.left < corner.right) scroll.scrollLeft -= corner.right - box.left + 4;
    if (box.right > view.right - 20) scroll.scrollLeft += box.right - view.right + 24;
    if (box.top < corner.bottom) scroll.scrollTop -= corner.bottom - box.top + 4;
    if (box.bottom > view.bottom - 20) scroll.scrollTop += box.bottom - view.bottom + 24;
  };

  document.querySelectorAll('figure').forEach(start);
})();
