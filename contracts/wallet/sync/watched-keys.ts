/** The counted keys that payments are looked for on: those that are used, and as many behind them as may be used unseen. */
import { setImmediate } from 'node:timers/promises'
import { toHex } from '../../../market/bytes.ts'
import { hash160 } from '../../../market/hash.ts'
import { p2pkhHash } from '../../transaction/script.ts'
import type { Rows } from '../coins/batch.ts'
import { KeyKind } from '../coins/rows.ts'
import type { KeyWallet } from '../key-wallet.ts'
import { countedKey } from '../own-keys.ts'

export const watchLimits = {
  /** Keys without a payment between two that have one: more of them, and the second is not found. */
  gap: 50,
  /** Keys ahead of the last used one while the past is read, where the order of payments is not that of keys. */
  recoveryAhead: 1000,
  /** Of each kind; of more, the oldest are not looked for any more. */
  keys: 100_000,
  /** Derived at a stretch: about 20 ms in which nobody else is served. */
  derivedAtOnce: 250,
} as const

export const keyKinds = KeyKind.options

/** How far of each kind a recovery looks from here on. */
export function watchedAhead(
  counters: Pick<Rows, 'counter'>,
  { recoveryAhead = watchLimits.recoveryAhead }: { readonly recoveryAhead?: number },
): Record<KeyKind, number> {
  const ahead = (kind: KeyKind) => counters.counter(kind) + recoveryAhead
  return { receive: ahead('receive'), change: ahead('change'), stake: ahead('stake') }
}

export interface Counted {
  readonly kind: KeyKind
  readonly number: number
}

export class WatchedKeys {
  readonly #keys: KeyWallet
  readonly #byHash = new Map<string, Counted>()
  readonly #hashes: Record<KeyKind, string[]> = { receive: [], change: [], stake: [] }
  readonly #counts: Record<KeyKind, number> = { receive: 0, change: 0, stake: 0 }

  constructor(keys: KeyWallet) {
    this.#keys = keys
  }

  /** Which key of ours a script pays to. */
  find(script: Uint8Array): Counted | undefined {
    const hash = p2pkhHash(script)
    return hash && this.#byHash.get(toHex(hash))
  }

  /** Looks for the keys below `count` from now on. @returns whether any of them was not looked for before */
  async watch(kind: KeyKind, count: number): Promise<boolean> {
    const before = this.#counts[kind]
    if (count <= before) return false
    const from = Math.max(before, count - watchLimits.keys)
    for (let number = from; number < count; number++) {
      if ((number - from + 1) % watchLimits.derivedAtOnce === 0) await setImmediate()
      this.#add({ kind, number })
    }
    this.#counts[kind] = Math.max(count, this.#counts[kind])
    return true
  }

  #add(counted: Counted): void {
    const { kind, number } = counted
    const hash = toHex(hash160(this.#keys.ownKey(countedKey(kind, number)).publicKey))
    const hashes = this.#hashes[kind]
    if (!this.#byHash.has(hash)) hashes.push(hash)
    this.#byHash.set(hash, counted)
    if (hashes.length > watchLimits.keys) this.#byHash.delete(hashes.shift()!) // it is not empty
  }
}
