// From keys to actions, as keymap.py chooses them; `game` says which buttons each action presses.

export function chooseAction(pressed, game) {
  const { actions, parts, opposites, idle } = game;
  const isButton = (index) => parts[index].length === 1 && parts[index][0] === actions[index];
  const whole = pressed.map((name) => actions.indexOf(name)).filter((index) => index >= 0 && !isButton(index));
  if (whole.length) return whole.at(-1);
  let held = [];
  for (const name of pressed) {
    const against = new Set(opposites.filter((pair) => pair.includes(name)).flat());
    held = [...held.filter((other) => other !== name && !against.has(other)), name];
  }
  let best = null;
  let chosen = idle;
  parts.forEach((needed, index) => {
    if (!needed.length || !needed.every((part) => held.includes(part))) return;
    const score = [needed.length, Math.max(...needed.map((part) => held.indexOf(part)))];
    if (best && (score[0] - best[0] || score[1] - best[1]) <= 0) return;
    best = score;
    chosen = index;
  });
  return chosen;
}
