/**
 * Notices for devices: when a message lies in a box, the operator's own program is told, by a signed POST, which devices its
 * recipient has registered (docs/protocol.md §13.8). No push service is known here. Nothing waits for it, and a restart
 * forgets what was not delivered: the message itself is in its box.
 */
import { createHmac } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { isBoxId } from '../../market/record.ts'
import { devicesOf } from '../store/box-settings.ts'
import type { Arrival, Store } from '../store/store.ts'

export const noticeLimits = {
  /** Notices that wait for their turn; more are dropped. */
  waiting: 1000,
  /** POSTs under way, or between two tries. */
  concurrent: 4,
  tries: 6,
  timeoutMs: 10_000,
  /** Before the second try; doubled before each other. */
  firstPauseMs: 1000,
} as const

export interface NoticesOptions {
  readonly store: Pick<Store, 'get' | 'onArrivals'>
  /** The operator's own: where it may be is not restricted. */
  readonly url: string
  /** Of the HMAC. */
  readonly secret: Uint8Array
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Told when notices begin to fail. */
  readonly onFailure: (reason: string) => void
  readonly firstPauseMs?: number
}

interface Notice extends Pick<Arrival, 'receiver' | 'recordId' | 'tag'> {
  readonly at: number
}

export class BoxNotices {
  readonly #options: NoticesOptions
  readonly #over = new AbortController()
  readonly #stop: () => void
  readonly #waiting: Notice[] = []
  readonly #active = new Set<Promise<void>>()
  readonly #counts = { sent: 0, failed: 0, dropped: 0 }
  #isFailing = false

  constructor(options: NoticesOptions) {
    this.#options = options
    this.#stop = options.store.onArrivals((arrivals) => this.#offer(arrivals))
  }

  /** Notices since the start. */
  get counts(): { readonly sent: number; readonly failed: number; readonly dropped: number } {
    return this.#counts
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#stop()
    this.#over.abort()
    await Promise.all(this.#active)
  }

  #offer(arrivals: readonly Arrival[]): void {
    for (const { receiver, recordId, tag } of arrivals) {
      if (!isBoxId(recordId)) continue
      if (this.#waiting.length >= noticeLimits.waiting) this.#counts.dropped++
      else this.#waiting.push({ receiver, recordId, tag, at: this.#options.now() })
    }
    // After those who wait for the commit have their answers.
    if (this.#waiting.length > 0) setImmediate(() => this.#go())
  }

  #go(): void {
    while (!this.#over.signal.aborted && this.#active.size < noticeLimits.concurrent) {
      const notice = this.#waiting.shift()
      if (notice === undefined) return
      const work = this.#deliver(notice).catch((error: unknown) => this.#failed((error as Error).message))
      const done = work.finally(() => {
        this.#active.delete(done)
        this.#go()
      })
      this.#active.add(done)
    }
  }

  async #deliver({ receiver, recordId, tag, at }: Notice): Promise<void> {
    const devices = devicesOf(this.#options.store, receiver)
    if (devices.length === 0) return
    const body = JSON.stringify({
      ...{ type: 'message', recipient: receiver, messageBox: tag, recordId, at },
      devices: devices.map(({ number, token, deviceId, platform }) => ({
        id: number,
        token,
        deviceId,
        platform,
      })),
    })
    const { signal } = this.#over
    let wait = this.#options.firstPauseMs ?? noticeLimits.firstPauseMs
    for (let left = noticeLimits.tries; !signal.aborted; wait *= 2) {
      const { isOver, reason } = await this.#post(body)
      if (reason === undefined) {
        this.#counts.sent++
        this.#isFailing = false
        return
      }
      if (isOver || --left === 0) return this.#failed(reason)
      await pause(wait, undefined, { signal, ref: false }).catch(() => undefined) // aborted
    }
  }

  /** Why it was not taken, if so; and whether another try would not help. */
  async #post(body: string): Promise<{ isOver: boolean; reason?: string }> {
    const { url, secret, now } = this.#options
    const time = String(now())
    const signature = createHmac('sha256', secret).update(`${time}.${body}`).digest('hex')
    const headers = {
      'content-type': 'application/json',
      'x-relay-timestamp': time,
      'x-relay-signature': `sha256=${signature}`,
    }
    const signal = AbortSignal.any([this.#over.signal, AbortSignal.timeout(noticeLimits.timeoutMs)])
    try {
      // Nobody leads us elsewhere: the operator has said where it goes.
      const answer = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal })
      await answer.body?.cancel()
      const { status } = answer
      if (status >= 200 && status < 300) return { isOver: true }
      return { isOver: status < 500 && status !== 429, reason: `it answers ${status}` }
    } catch (error) {
      const { cause, message } = error as Error
      return { isOver: false, reason: cause instanceof Error ? cause.message : message }
    }
  }

  #failed(reason: string): void {
    this.#counts.failed++
    if (this.#isFailing) return
    this.#isFailing = true
    this.#options.onFailure(reason)
  }
}
