/** LevelDB behind a few calls. The only file of contracts/wallet that imports `level`. */
import { setTimeout as delay } from 'node:timers/promises'
import { Level } from 'level'
import { MarketError } from '../../../market/errors.ts'

/** `value: undefined` deletes. */
export interface Change {
  readonly key: string
  readonly value: string | undefined
}

/** Keys from `gte` up to, not including, `lt`. */
export interface Bounds {
  readonly gte: string
  readonly lt: string
  readonly reverse?: boolean
  /** Rows at most; all unless named. */
  readonly limit?: number
}

export interface Database {
  get(key: string): string | undefined
  /** As it was when the scan began, whatever is written meanwhile. */
  scan(bounds: Bounds): AsyncIterable<[key: string, value: string]>
  /** A few rows at once; for ranges whose size the caller bounds. */
  few(bounds: Bounds & { limit: number }): Promise<[key: string, value: string][]>
  /** All changes or none, on disk when it resolves. After a rejection nothing may be written to the handle. */
  write(changes: readonly Change[]): Promise<void>
  close(): Promise<void>
}

export interface OpenOptions {
  /** How long another process may keep it: commands that run at once take turns. */
  readonly waitMs?: number
}

const openDefaults = { waitMs: 10_000 } as const
const retryMs = 40

/** @throws ERR_BUSY when another process has it open for longer than that; ERR_INTERNAL when it is damaged or cannot be opened */
export async function openCoinDatabase(
  directory: string,
  { waitMs = openDefaults.waitMs }: OpenOptions = {},
): Promise<Database> {
  const level = await openLevel(directory, waitMs)
  return {
    get: (key) => guard(() => level.getSync(key)),
    scan: (bounds) => guard(() => level.iterator(bounds)),
    async few(bounds) {
      const iterator = guard(() => level.iterator(bounds))
      try {
        return await iterator.all()
      } finally {
        await iterator.close()
      }
    },
    async write(changes) {
      const batch = level.batch()
      for (const { key, value } of changes) {
        if (value === undefined) batch.del(key)
        else batch.put(key, value)
      }
      await batch.write({ sync: true })
    },
    close: () => level.close(),
  }
}

async function openLevel(directory: string, waitMs: number): Promise<Level<string, string>> {
  // A monotonic clock: the wait is bounded even when somebody sets the time.
  const until = performance.now() + waitMs
  for (;;) {
    const level = new Level<string, string>(directory, { keyEncoding: 'utf8', valueEncoding: 'utf8' })
    try {
      await level.open()
      return level
    } catch (error) {
      const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
      if (!isLocked(cause))
        throw new MarketError('ERR_INTERNAL', `cannot open the coins in ${directory}`, { cause })
      if (performance.now() >= until)
        throw new MarketError('ERR_BUSY', `the coins in ${directory} are in use by another process`, {
          extras: { reason: 'locked' },
          cause,
        })
    }
    await delay(retryMs)
  }
}

const isLocked = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'LEVEL_LOCKED'

function guard<T>(read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw new MarketError('ERR_INTERNAL', 'cannot read the coins', { cause })
  }
}
