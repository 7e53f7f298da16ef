import { spawn } from 'node:child_process'
import { once } from 'node:events'

// Reads the id of the process group to end from its standard input, which this process holds open. However this process
// ends, SIGKILL included, the input ends with it, and the guard then cleans up. It ignores the signals of a terminal.
const SCRIPT = `
trap '' HUP INT TERM
target=
while read -r line; do target=$line; done
[ -n "$target" ] && kill -9 "-$target" 2>/dev/null
[ -n "$2" ] && docker rm -f -v "$2" >/dev/null 2>&1
[ -n "$1" ] && { rm -rf "$1" || { sleep 1; rm -rf "$1"; }; } 2>/dev/null
exit 0
`

/** Cleans up after a server, also when the process that started it is killed. */
export interface Guard {
  /** From now on the process group `pid` is the one to end; `undefined`: none is. */
  watch(pid: number | undefined): void
  /** Cleans up now: ends the group, removes the folder and the container. */
  release(): Promise<void>
}

/** Starts a guard over a folder, or over a container of the engine that answers at `engine`. */
export const startGuard = (over: { folder?: string; container?: string; engine?: string | undefined }): Guard => {
  const { folder = '', container = '', engine } = over
  const child = spawn('sh', ['-c', SCRIPT, 'guard', folder, container], {
    detached: true,
    env: engine ? { ...process.env, DOCKER_HOST: engine } : process.env,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  const ended = once(child, 'exit')
  child.unref()
  // A pipe's socket would keep this process alive for as long as the server runs.
  ;(child.stdin as unknown as { unref(): void }).unref()
  child.stdin.on('error', () => undefined)
  return {
    watch: (pid) => child.stdin.write(`${pid ?? ''}\n`),
    release: async () => {
      child.ref()
      child.stdin.end()
      await ended
    },
  }
}
