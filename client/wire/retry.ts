/** Waiting before trying again: exponential, with jitter, never beyond what the relay or the caller says. */
import { setTimeout as delay } from 'node:timers/promises'
import { MarketError } from '../../market/errors.ts'

export interface Backoff {
  readonly firstMs: number
  readonly maxMs: number
}

/** Full jitter above half, so that many clients of a restarted relay do not come back together. */
export function backoffMs(attempt: number, { firstMs, maxMs }: Backoff): number {
  const ceiling = Math.min(maxMs, firstMs * 2 ** attempt)
  return ceiling / 2 + (Math.random() * ceiling) / 2
}

/** Waits for the `attempt`-th retry after `error`; a relay that names a time is believed up to `maxMs`. */
export async function pauseBeforeRetry(
  error: unknown,
  attempt: number,
  options: Backoff & { signal?: AbortSignal | undefined },
): Promise<void> {
  const asked = error instanceof MarketError ? error.extras.retryAfterMs : undefined
  const least = typeof asked === 'number' ? Math.min(Math.max(asked, 0), options.maxMs) : 0
  await sleep(Math.max(least, backoffMs(attempt, options)), options.signal)
}

export const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  delay(ms, undefined, signal && { signal })

/** Calls `work` for each item, at most `width` at once; the first failure ends the taking of new items. */
export async function eachLimited<T>(
  items: Iterable<T> | AsyncIterable<T>,
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>()
  let failure: { error: unknown } | undefined
  for await (const item of items) {
    const task: Promise<void> = work(item)
      .catch((error: unknown) => {
        failure ??= { error }
      })
      .finally(() => running.delete(task))
    running.add(task)
    if (running.size >= width) await Promise.race(running)
    if (failure !== undefined) break
  }
  await Promise.all(running)
  if (failure !== undefined) throw failure.error
}

/** A trigger for work that runs once at a time; pulls of the trigger during a run make one more run. */
export function coalesce(work: () => Promise<void>): { wake(): void; idle(): Promise<void> } {
  let wanted = false
  let running: Promise<void> | undefined
  const run = async () => {
    while (wanted) {
      wanted = false
      await work()
    }
    running = undefined
  }
  return {
    wake() {
      wanted = true
      running ??= run()
    },
    idle: async () => running,
  }
}
