/** Makes the stamps of adverts (docs/protocol.md §12.2) in threads of their own, so that nobody who is served waits for it. */
import { randomBytes } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { MarketError } from '../../market/errors.ts'
import { leadingZeroBits, Stamp, stampDigest } from '../../market/stamp.ts'

export interface MineOptions {
  /** Leading zero bits that the stamp must have; each doubles the work. */
  readonly bits: number
  /** @throws its reason from `mine`, once aborted */
  readonly signal?: AbortSignal | undefined
  /** Told about five times a second. */
  readonly onProgress?: ((progress: Progress) => void) | undefined
  /** The first nonce that is tried; else a random one. */
  readonly start?: bigint | undefined
  /** Cores that are used; 1 unless said. */
  readonly threads?: number | undefined
}

export interface Progress {
  /** Hashes. */
  readonly tried: number
  readonly perSecond: number
}

export interface Mined {
  readonly stamp: string
  readonly tried: number
}

interface Report {
  readonly tried: number
  readonly stamp?: string
}

/** What each thread begins above the one before: more than it will ever try. */
const apart = 10n ** 17n

/** A stamp for `text`. @throws the reason of `signal`; ERR_INTERNAL when a thread fails */
export async function mine(text: string, options: MineOptions): Promise<Mined> {
  const { bits, signal, onProgress, start = randomStart(), threads = 1 } = options
  signal?.throwIfAborted()
  const tried = new Array<number>(threads).fill(0)
  const total = () => tried.reduce((sum, count) => sum + count, 0)
  const since = performance.now()
  const running = tried.map((_, index) => threadFrom({ text, bits, start: start + BigInt(index) * apart }))
  let abort = () => {}
  try {
    const stamp = await new Promise<string>((resolve, reject) => {
      abort = () => reject(signal?.reason)
      signal?.addEventListener('abort', abort, { once: true })
      for (const [index, thread] of running.entries()) {
        thread.on('message', (report: Report) => {
          tried[index] = report.tried
          onProgress?.({ tried: total(), perSecond: (total() * 1000) / (performance.now() - since) })
          if (report.stamp !== undefined) resolve(report.stamp)
        })
        const failed = (cause?: unknown) =>
          reject(new MarketError('ERR_INTERNAL', 'a miner failed', { cause }))
        thread.once('error', failed)
        thread.once('exit', failed)
      }
    })
    if (!Stamp.safeParse(stamp).success || leadingZeroBits(stampDigest(text, stamp)) < bits)
      throw new MarketError('ERR_INTERNAL', 'a miner found what is no stamp')
    return { stamp, tried: total() }
  } finally {
    signal?.removeEventListener('abort', abort)
    await Promise.all(running.map((thread) => thread.terminate()))
  }
}

interface Work {
  readonly text: string
  readonly bits: number
  readonly start: bigint
}

/** Its program is these two functions as text: it needs no file beside it, and starts in a moment. */
const threadFrom = (work: Work): Worker =>
  new Worker(`(${search})(${leadingZeroBits})`, { eval: true, execArgv: [], workerData: work })

/** Tries one nonce after another until the thread is ended. The hash of the text is computed once. */
async function search(zeroBits: (digest: Uint8Array) => number): Promise<void> {
  const { createHash } = await import('node:crypto')
  const { parentPort, workerData } = await import('node:worker_threads')
  const { text, bits, start } = workerData as Work // what threadFrom gives it
  const reportEvery = 100_000
  const begun = createHash('sha256').update(`${text}\0`)
  // Counting in numbers is faster than in big ones.
  const most = 10 ** 15
  let low = Number(start % BigInt(most))
  let high = start / BigInt(most)
  for (let tried = 1; ; tried += 1) {
    const stamp = high === 0n ? String(low) : String(high) + String(low).padStart(15, '0')
    low += 1
    if (low === most) {
      low = 0
      high += 1n
    }
    const digest = begun.copy().update(stamp, 'latin1').digest()
    if ((digest[0] === 0 || bits < 8) && zeroBits(digest) >= bits) {
      parentPort?.postMessage({ tried, stamp } satisfies Report)
      return
    }
    if (tried % reportEvery === 0) parentPort?.postMessage({ tried } satisfies Report)
  }
}

const randomStart = (): bigint => BigInt(`0x${randomBytes(6).toString('hex')}`)
