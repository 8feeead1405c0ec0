/** LevelDB behind a few calls. The only file that imports `level`. */
import { Level } from 'level'
import { MarketError } from '../../market/errors.ts'
import { damaged } from './codec.ts'

/** `value: undefined` deletes. */
export interface Change {
  readonly key: Buffer
  readonly value: Buffer | undefined
}

export type Range = { gt: Buffer } | { gte: Buffer }
export type Bounds = Range & ({ lt: Buffer } | { lte: Buffer }) & { readonly reverse?: true }
export type KeyValue = [key: Buffer, value: Buffer]

/** Rows in the order of their keys, as they were when the scan began. */
export interface Scan {
  /** At most `size` further rows, perhaps fewer; none only at the end. */
  next(size: number): Promise<KeyValue[]>
  close(): Promise<void>
}

/** Everything as it was at one moment, whatever is written meanwhile. To be closed: until then nothing it holds is freed. */
export interface Snapshot {
  get(key: Buffer): Buffer | undefined
  scan(bounds: Bounds): Scan
  close(): Promise<void>
}

export interface Database {
  get(key: Buffer): Buffer | undefined
  scan(bounds: Bounds): Scan
  snapshot(): Snapshot
  /** All changes or none, on disk when it resolves. After a rejection the handle must not be written to again. */
  write(changes: Iterable<Change>): Promise<void>
  close(): Promise<void>
}

const options = {
  keyEncoding: 'buffer',
  valueEncoding: 'buffer',
  // Almost all of it is ciphertext.
  compression: false,
  writeBufferSize: 64 << 20,
  cacheSize: 32 << 20,
  maxFileSize: 16 << 20,
  maxOpenFiles: 512,
} as const

/** Rows of one native call: a scan of 1000 index rows (about 0.2 MB) must not be cut into many. */
const scanBytes = 1 << 20

/** @throws ERR_BUSY when another process has it open, ERR_INTERNAL when it is damaged or cannot be opened (`extras.reason`). */
export async function openDatabase(directory: string): Promise<Database> {
  const level = new Level<Buffer, Buffer>(directory, options)
  try {
    await level.open()
  } catch (cause) {
    throw openError(directory, cause)
  }
  return {
    get: (key) => guard(level, () => level.getSync(key)),
    scan: (bounds) => scan(level, bounds),
    snapshot() {
      const snapshot = guard(level, () => level.snapshot())
      return {
        get: (key) => guard(level, () => level.getSync(key, { snapshot })),
        scan: (bounds) => scan(level, { ...bounds, snapshot }),
        close: () => snapshot.close(),
      }
    },
    write(changes) {
      const batch = level.batch()
      for (const { key, value } of changes) {
        if (value === undefined) batch.del(key)
        else batch.put(key, value)
      }
      return batch.write({ sync: true })
    },
    close: () => level.close(),
  }
}

type Moment = ReturnType<Level<Buffer, Buffer>['snapshot']>

function guard<T>(level: Level<Buffer, Buffer>, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw readError(level, cause)
  }
}

function scan(level: Level<Buffer, Buffer>, range: Bounds & { snapshot?: Moment }): Scan {
  const iterator = guard(level, () => level.iterator({ ...range, highWaterMarkBytes: scanBytes }))
  return {
    async next(size) {
      try {
        return await iterator.nextv(size)
      } catch (cause) {
        throw readError(level, cause)
      }
    },
    close: () => iterator.close(),
  }
}

function openError(directory: string, error: unknown): MarketError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  switch (codeOf(cause)) {
    case 'LEVEL_LOCKED':
      return new MarketError('ERR_BUSY', `the store in ${directory} is open in another process`, {
        extras: { reason: 'locked' },
        cause,
      })
    case 'LEVEL_CORRUPTION':
      return damaged(`LevelDB cannot open ${directory}`, cause)
    default:
      return new MarketError('ERR_INTERNAL', `cannot open the store in ${directory}`, {
        extras: { reason: 'unreadable' },
        cause,
      })
  }
}

/** A handle closed under a reader is being reopened, or the program ends: the reader may ask again. */
function readError(level: Level<Buffer, Buffer>, cause: unknown): MarketError {
  if (level.status !== 'open') return new MarketError('ERR_BUSY', 'the store is not open', { cause })
  if (codeOf(cause) === 'LEVEL_CORRUPTION') return damaged('LevelDB cannot read a row', cause)
  return new MarketError('ERR_INTERNAL', 'cannot read from the store', { cause })
}

const codeOf = (error: unknown): unknown =>
  error instanceof Error && 'code' in error ? error.code : undefined
