import { chromium, type Browser } from 'playwright-core'
import { requireProgram } from '../services/apt.js'

const ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/**
 * An installed Chromium or Chrome; on Debian as root its package is installed first. Without one the answer is the reason,
 * for a test to skip with, except where `CI=true`: there a missing browser is a failure.
 */
export async function startBrowser(): Promise<Browser | string> {
  try {
    const executablePath =
      process.env['SPILLWAY_CHROMIUM'] ??
      (await requireProgram('chromium', 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'))
    return await chromium.launch({ executablePath, args: ARGS, timeout: 120_000 })
  } catch (error) {
    if (process.env['CI'] === 'true') throw error
    return `no browser: ${error instanceof Error ? error.message : String(error)}`
  }
}
