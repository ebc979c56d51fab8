/** Lets the event loop go round: sockets, immediates and promises get their turn. */
export async function turns(count = 5): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Resolves when `measure()` has stayed the same for many turns: whatever was moving has stopped. */
export async function settled(measure: () => number, quietTurns = 200): Promise<number> {
  let last = measure();
  for (let quiet = 0; quiet < quietTurns; quiet++) {
    await turns(1);
    const now = measure();
    if (now !== last) quiet = 0;
    last = now;
  }
  return last;
}
