(() => {
  const map = document.querySelector("#map svg");
  if (!map) return;
  const out = document.querySelector("#map output");
  const dots = [...map.querySelectorAll(".dot")];
  const at = dots.map((dot) => [dot.x.baseVal.value, dot.y.baseVal.value]);
  const ways = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  let now = -1;
  const show = (n) => {
    if (n < 0 || n === now) return;
    if (now >= 0) dots[now].classList.remove("now");
    dots[now = n].classList.add("now");
    out.textContent = dots[n].firstElementChild.textContent;
  };
  const nearest = (distance) => {
    let best = -1, least = Infinity;
    at.forEach(([x, y], n) => {
      const far = distance(x, y, n);
      if (far < least) { least = far; best = n; }
    });
    return best;
  };
  const point = (event) => {
    const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
    show(nearest((x, y) => {
      const far = Math.hypot(x - p.x, y - p.y);
      return far < 12 ? far : Infinity;
    }));
  };
  map.addEventListener("pointermove", point);
  map.addEventListener("pointerdown", point);
  map.addEventListener("keydown", (event) => {
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();
    const [x0, y0] = now < 0 ? [170, 170] : at[now];
    show(nearest((x, y, n) => {
      const ahead = (x - x0) * way[0] + (y - y0) * way[1];
      const aside = Math.abs((x - x0) * way[1]) + Math.abs((y - y0) * way[0]);
      return n === now || (now >= 0 && (ahead <= 0 || aside > 2 * ahead)) ? Infinity : Math.hypot(ahead, 2 * aside);
    }));
  });
  map.setAttribute("tabindex", "0");
  map.setAttribute("role", "application");
})();
