/**
 * Not waiting for one relay of several: once all its owners were heard to the end elsewhere, it is not waited for when it is asked for
 * a list and stays silent. Reads are never cut off: each may be a pull. What only it has comes with a later pull.
 */
import { formatAddress, type RelayAddress } from '../../market/address.ts'
import type { Key } from '../../market/units.ts'
import { ClientError } from '../errors.ts'

const patienceLimits = {
  /** The time between two answers of an honest relay on a slow network is less. */
  silentMs: 10_000,
  /** For so many such times it may go on answering page after page; a later pull goes on from there. */
  silences: 6,
} as const

interface Group {
  readonly address: RelayAddress
  readonly owners: readonly (Key | undefined)[]
}

/** One relay being read. */
export interface Turn {
  readonly signal: AbortSignal
  /** It is asked for something that costs nothing … */
  asks(): void
  /** … and has answered. */
  heard(): void
  /** All of its owners were read to the end. */
  done(): void
}

interface Waiting {
  readonly group: Group
  readonly cut: AbortController
  isAsked: boolean
  /** Its whole time is over. */
  isOver: boolean
  whole: NodeJS.Timeout | undefined
  timer: NodeJS.Timeout | undefined
}

export class Patience {
  readonly #silentMs: number
  readonly #signal: AbortSignal | undefined
  readonly #waiting = new Map<string, Waiting>()
  readonly #done = new Set<Key | undefined>()

  constructor(
    groups: readonly Group[],
    options: { readonly patienceMs?: number | undefined; readonly signal?: AbortSignal | undefined },
  ) {
    this.#silentMs = options.patienceMs ?? patienceLimits.silentMs
    this.#signal = options.signal
    for (const group of groups)
      this.#waiting.set(formatAddress(group.address), {
        group,
        cut: new AbortController(),
        isAsked: false,
        isOver: false,
        whole: undefined,
        timer: undefined,
      })
  }

  begin(address: RelayAddress): Turn {
    const name = formatAddress(address)
    const waiting = this.#waiting.get(name)! // of one of the groups
    const { signal } = waiting.cut
    return {
      signal: this.#signal === undefined ? signal : AbortSignal.any([this.#signal, signal]),
      asks: () => {
        waiting.isAsked = true
        if (waiting.isOver) cutOff(waiting)
        this.#look()
      },
      heard: () => {
        waiting.isAsked = false
        clearTimeout(waiting.timer)
        waiting.timer = undefined
      },
      done: () => {
        clearTimeout(waiting.timer)
        clearTimeout(waiting.whole)
        this.#waiting.delete(name)
        for (const owner of waiting.group.owners) this.#done.add(owner)
        this.#look()
      },
    }
  }

  end(): void {
    for (const { timer, whole } of this.#waiting.values()) {
      clearTimeout(timer)
      clearTimeout(whole)
    }
    this.#waiting.clear()
  }

  /** Gives a last chance to each relay that others have spoken for. Strangers nobody speaks for. */
  #look(): void {
    for (const waiting of this.#waiting.values()) {
      const { group, isAsked } = waiting
      const isSpokenFor = group.owners.every((owner) => owner !== undefined && this.#done.has(owner))
      if (!isSpokenFor) continue
      waiting.whole ??= setTimeout(() => {
        waiting.isOver = true
        if (waiting.isAsked) cutOff(waiting)
      }, patienceLimits.silences * this.#silentMs)
      if (isAsked) waiting.timer ??= setTimeout(() => cutOff(waiting), this.#silentMs)
    }
  }
}

function cutOff({ group, cut }: Waiting): void {
  const silent = `${group.address.url} did not answer while others did: what only it has comes later`
  cut.abort(new ClientError('ERR_UNREACHABLE', silent))
}
