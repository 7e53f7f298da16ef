export const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`

/** Draws a line over the one before, on a terminal. */
function draw(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${line.slice(0, 118).padEnd(118)}`)
}

/** A line of its own; on a terminal it takes the place of what was drawn. */
export function print(line: string): void {
  process.stderr.write(process.stderr.isTTY ? `\r${line.padEnd(118)}\n` : `${line}\n`)
}

/** How often a program that is not on a terminal tells that it still waits. */
const tellEveryS = 15

/** Tells what is waited for, while it lasts and how long it took in the end. */
export async function phase<Value>(what: string, work: Promise<Value>, state: () => string = () => ''): Promise<Value> {
  const startedMs = performance.now()
  const line = (): string => [`${what}: ${seconds(performance.now() - startedMs)}`, state()].filter(Boolean).join(', ')
  let ticks = 0
  draw(line())
  const ticking = setInterval(() => {
    ticks++
    if (process.stderr.isTTY) draw(line())
    else if (ticks % tellEveryS === 0) print(`${line()}, not over`)
  }, 1_000)
  try {
    return await work
  } finally {
    clearInterval(ticking)
    print(line())
  }
}
