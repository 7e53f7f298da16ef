/** Tells of a fault that nobody awaits. Without a listener it becomes a warning of the process. */
export type Report = (error: unknown) => void

const warn: Report = (error) => process.emitWarning(error instanceof Error ? error : new Error(String(error)))

export function reporter(onBackgroundError: Report | undefined): Report {
  return (error) => {
    try {
      ;(onBackgroundError ?? warn)(error)
    } catch (thrown) {
      warn(thrown)
    }
  }
}
