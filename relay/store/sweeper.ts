/**
 * Removes what has expired. The only part of the store that destroys anything for reasons of time, so it distrusts the
 * clock: after a jump or a long pause it waits until a person confirms that the time is right.
 */
import { dayMs } from '../../market/units.ts'
import type { Log } from './committer.ts'
import type { Bounds, KeyValue } from './database.ts'
import { dropBrought } from './departures.ts'
import * as keys from './keys.ts'
import { bookReturned } from './ledger.ts'
import { placeAt } from './place.ts'
import { expireRecord, type RecordBatch } from './records.ts'
import { NumberRow } from './rows.ts'
import type { Store } from './store.ts'

/** A clock that is set by less is not distrusted, neither here nor before a request (../clock.ts). */
export const clockJumpMs = 3_600_000

export const sweepLimits = {
  /** The wall clock may differ by this much from the monotonic one, either way, and … */
  clockJumpMs,
  /** … and this long may have passed since the last sweep. */
  pauseMs: 7 * dayMs,
  /** Rows removed in one operation: about 2 ms of the committer, between which writers have their turn. */
  stepRows: 64,
  /** Rows of each table removed in one run. */
  runRows: 65_536,
  /** Owners whose pull log is looked at in one run; the next run goes on behind them. */
  runOwners: 256,
  /**
   * How much longer than fresh an answer is remembered. A sweep may come when the clock is ahead by a jump that is let
   * pass, a request when it is behind by another: what was swept must not be fresh again then, and act twice.
   */
  answersMs: 2 * clockJumpMs,
  /** How long signed reads are kept as evidence. */
  pullRetentionMs: 90 * dayMs,
} as const

export interface SweeperOptions {
  readonly store: Store
  now(): number
  /** Milliseconds that no setting of the clock changes. */
  monotonic?(): number
  readonly log?: Log
  readonly pullRetentionMs?: number
}

export type SweeperState =
  | { readonly state: 'running' }
  | { readonly state: 'waiting for confirmation'; readonly reason: string }

export class Sweeper {
  readonly #options: SweeperOptions
  readonly #pullRetentionMs: number
  #state: SweeperState = { state: 'running' }
  #start: { now: number; monotonic: number }
  #confirmed = false
  #running: Promise<number> | undefined
  #lastOwner: string | undefined

  constructor(options: SweeperOptions) {
    this.#options = options
    this.#pullRetentionMs = options.pullRetentionMs ?? sweepLimits.pullRetentionMs
    this.#start = this.#clocks()
  }

  get state(): SweeperState {
    return this.#state
  }

  /** A person has checked the clock: sweep on, whatever it shows. */
  confirm(): void {
    this.#start = this.#clocks()
    this.#confirmed = true
    this.#state = { state: 'running' }
  }

  /** Removes a bounded number of rows and resolves with how many; 0 while it waits. Runs do not overlap. */
  run(): Promise<number> {
    this.#running ??= this.#sweep().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #sweep(): Promise<number> {
    if (this.#state.state !== 'running') return 0
    // One time for the whole run: the one the guard has seen.
    const { now } = this.#clocks()
    const reason = this.#objection(now)
    if (reason !== undefined) {
      this.#state = { state: 'waiting for confirmation', reason }
      this.#options.log?.error({ reason }, 'nothing is swept until the clock is confirmed')
      return 0
    }
    const expired = await this.#remove(keys.below('x', now + 1), (batch, [key, value]) => {
      expireRecord(batch, { key, value }, now)
    })
    const answered = await this.#remove(keys.below('q', Math.max(0, now - sweepLimits.answersMs)), drop)
    const lapsed = await this.#remove(keys.below('t', now + 1), (batch, [key]) => {
      // What a record gives back from here on has a later place, by which its purse has lapsed, whatever the clock does.
      batch.nextPlace()
      bookReturned(batch, { ...keys.lapseOfKey(key), satoshi: Number.MAX_SAFE_INTEGER, note: 'lapsed' })
      batch.del(key)
    })
    const brought = await this.#remove(keys.broughtBefore(now), (batch, [key]) => dropBrought(batch, key))
    const pulls = await this.#trimPulls(now)
    // A clock set back moves this as little as any place, so that it cannot go back step by step, restart by restart.
    const value = this.#confirmed ? now : Math.max(now, lastSweep(this.#options.store))
    await this.#options.store.commit((batch) => batch.put(sweepRow, NumberRow.encode({ value })))
    this.#confirmed = false
    return expired + answered + lapsed + brought + pulls
  }

  #objection(now: number): string | undefined {
    const { monotonic } = this.#clocks()
    const jumpMs = now - this.#start.now - (monotonic - this.#start.monotonic)
    if (Math.abs(jumpMs) > sweepLimits.clockJumpMs) {
      return `the clock jumped by ${Math.round(jumpMs / 60_000)} minutes`
    }
    const last = lastSweep(this.#options.store)
    if (now - last <= sweepLimits.pauseMs || this.#confirmed) return undefined
    return `${Math.floor((now - last) / dayMs)} days passed since the last sweep`
  }

  /** Each owner's turn comes once in as many runs as there are owners to a run. */
  async #trimPulls(now: number): Promise<number> {
    const upTo = placeAt(Math.max(0, now - this.#pullRetentionMs))
    const scan = this.#options.store.scan(keys.ownersAfter('c', this.#lastOwner))
    const owners = await scan.next(sweepLimits.runOwners).finally(() => scan.close())
    let removed = 0
    for (const [key] of owners) {
      this.#lastOwner = keys.ownerOfKey(key)
      const prefix = keys.pullPrefix(this.#lastOwner)
      removed += await this.#remove({ gte: keys.placeKey(prefix, 0), lte: keys.placeKey(prefix, upTo) }, drop)
    }
    if (owners.length === 0) this.#lastOwner = undefined
    return removed
  }

  async #remove(bounds: Bounds, remove: (batch: RecordBatch, row: KeyValue) => void): Promise<number> {
    const { store } = this.#options
    const scan = store.scan(bounds)
    let removed = 0
    try {
      while (removed < sweepLimits.runRows) {
        const rows = await scan.next(sweepLimits.stepRows)
        if (rows.length === 0) break
        await store.commit((batch) => {
          for (const row of rows) remove(batch, row)
        })
        removed += rows.length
      }
    } finally {
      await scan.close()
    }
    return removed
  }

  #clocks(): { now: number; monotonic: number } {
    const { now, monotonic = () => performance.now() } = this.#options
    return { now: now(), monotonic: monotonic() }
  }
}

const sweepRow = keys.metaKey('sweep')

/** The time of the last sweep, by the clock of then; as long as there was none, that of the beginning. */
export function lastSweep(store: Pick<Store, 'get' | 'meta'>): number {
  const stored = store.get(sweepRow)
  return stored === undefined ? store.meta.startedAt : NumberRow.decode(stored).value
}

const drop = (batch: RecordBatch, [key]: KeyValue): void => batch.del(key)
