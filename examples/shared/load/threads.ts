import { once } from 'node:events'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { startLoad, type RunningLoad } from './load.js'
import type { LoadPlan } from './plan.js'
import { addSample, emptySample, type LoadSample } from './sample.js'

const SAMPLE_MS = 100

/** Runs one plan per thread, as one load. */
export function startThreads(plans: readonly LoadPlan[], threadFile: string): RunningLoad {
  let window = emptySample()
  const workers = plans.map((plan) => new Worker(threadFile, { workerData: plan }))
  const ended = workers.map((worker) => once(worker, 'exit'))
  const ready = workers.map((worker) => once(worker, 'message'))
  for (const worker of workers) {
    worker.on('message', (message: LoadSample | 'ready') => {
      if (message !== 'ready') addSample(window, message)
    })
  }
  const tell = (message: 'begin' | 'stop'): void => {
    for (const worker of workers) worker.postMessage(message)
  }
  const finished = Promise.all(ended).then(() => {})
  // One thread that fails ends the load; the others would go on for nobody.
  finished.catch(() => {
    for (const worker of workers) void worker.terminate()
  })
  return {
    ready: Promise.all(ready).then(() => {}),
    begin: () => tell('begin'),
    stop: () => tell('stop'),
    takeSample() {
      const sample = window
      window = emptySample()
      return sample
    },
    finished,
  }
}

/** What a thread's file runs: the plan it was started with. */
export async function serveLoadThread(): Promise<void> {
  const port = parentPort
  if (port === null) throw new Error('serveLoadThread runs in a worker thread')
  const load = startLoad(workerData as LoadPlan)
  port.on('message', (message: 'begin' | 'stop') => load[message]())
  await load.ready
  port.postMessage('ready')
  const report = (): void => port.postMessage(load.takeSample())
  const ticker = setInterval(report, SAMPLE_MS)
  await load.finished
  clearInterval(ticker)
  report()
  port.close()
}
