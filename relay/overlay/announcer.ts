/**
 * What this relay says of itself to overlays (docs/protocol.md §14): which topics and services it hosts, and for whom it takes
 * messages. Tokens stand exactly as long as that is so; hosts are told of each transaction until they answer.
 */
import { hostAdvertScript, hostingNames, hostingSigners } from '../../contracts/overlay/host-advert.ts'
import { phipScript, phipSigner, phipTopic } from '../../contracts/overlay/phip.ts'
import { align } from '../../contracts/overlay/standing.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import type { Txid } from '../../contracts/transaction/transaction.ts'
import { MarketError } from '../../market/errors.ts'
import type { Authorization } from '../phip/authorizations.ts'
import type { Submission } from './overlay.ts'
import { serviceNames, topicNames } from './topics.ts'

export interface AnnouncerOptions {
  /** Of the relay. @throws ERR_BUSY while there is none */
  readonly wallet: () => EmbeddedWallet
  /** How the relay is reached, for `self` and its hosts; undefined: nothing is said any more, and what was said is revoked. */
  readonly uri: string | undefined
  /** Names of whoever is told. */
  readonly told: readonly string[]
  readonly submit: (host: string, submission: Submission, signal: AbortSignal) => Promise<unknown>
  /** Who let this relay take messages for him. */
  readonly authorizations: () => readonly Authorization[]
  readonly now: () => number
  readonly log: { warn(facts: object, message: string): void; info(facts: object, message: string): void }
}

const announcing = {
  /** When all is told, how long until it is looked at again. */
  againMs: 3_600_000,
  retryMs: 10_000,
  retryMostMs: 3_600_000,
} as const
const topics = [hostingNames.SHIP.topic, hostingNames.SLAP.topic, phipTopic]

interface Host {
  readonly name: string
  readonly told: Set<Txid>
  readonly open: Set<Txid>
  failures: number
  retryAt: number
}

export class Announcer {
  readonly #options: AnnouncerOptions
  readonly #hosts: readonly Host[]
  #lookAt = Number.NEGATIVE_INFINITY
  #trouble: string | undefined
  readonly #closing = new AbortController()
  #running: Promise<void> | undefined

  constructor(options: AnnouncerOptions) {
    this.#options = options
    this.#hosts = options.told.map((name) => ({
      ...{ name, told: new Set<Txid>(), open: new Set<Txid>(), failures: 0, retryAt: 0 },
    }))
  }

  /** What is to be said has changed. */
  touch(): void {
    this.#lookAt = Number.NEGATIVE_INFINITY
  }

  /** Begins a step of what there is to do, unless one is under way; to be called after the chain was heard. */
  follow(): void {
    if (this.#closing.signal.aborted) return
    this.#running ??= this.#step().finally(() => {
      this.#running = undefined
    })
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  async #step(): Promise<void> {
    const { now } = this.#options
    try {
      if (now() >= this.#lookAt) await this.#align()
      for (const host of this.#hosts) if (host.open.size > 0 && now() >= host.retryAt) await this.#tell(host)
    } catch (error) {
      this.#complain((error as Error).message) // everything thrown here is an Error
    }
  }

  async #align(): Promise<void> {
    const { wallet: current, now } = this.#options
    const wallet = current()
    // Whatever changes from here on is seen the next time.
    this.#lookAt = now() + announcing.againMs
    try {
      const signers = [...hostingSigners(wallet.keys), phipSigner(wallet.keys)]
      const { txids, isAligned } = await align(wallet, this.#wanted(wallet), signers)
      for (const { open, told } of this.#hosts) for (const txid of txids) if (!told.has(txid)) open.add(txid)
      if (!isAligned) this.touch()
      this.#trouble = undefined
    } catch (error) {
      this.touch()
      throw error
    }
  }

  #wanted({ keys }: EmbeddedWallet): Uint8Array[] {
    const { uri, authorizations } = this.#options
    if (uri === undefined) return []
    const domain = new URL(uri).host
    const routed = authorizations().filter((routing) => routing.domain === domain)
    return [
      ...topicNames.map((name) => hostAdvertScript('SHIP', { uri, name }, keys)),
      ...serviceNames.map((name) => hostAdvertScript('SLAP', { uri, name }, keys)),
      ...routed.map((routing) => phipScript(routing, keys)),
    ]
  }

  async #tell(host: Host): Promise<void> {
    const { wallet, submit, now, log } = this.#options
    try {
      for (const txid of host.open) {
        const beef = await wallet().store.beef(txid)
        for (const topic of topics)
          await submit(host.name, { beef, topics: [topic] }, this.#closing.signal).catch(unlessFinal)
        host.open.delete(txid)
        host.told.add(txid)
      }
      host.failures = 0
      log.info({ host: host.name }, 'an overlay knows what is hosted here')
    } catch (error) {
      host.retryAt = now() + Math.min(announcing.retryMs * 2 ** host.failures++, announcing.retryMostMs)
      this.#complain(`${host.name}: ${(error as Error).message}`)
    }
  }

  #complain(reason: string): void {
    if (reason !== this.#trouble && !this.#closing.signal.aborted)
      this.#options.log.warn({ reason }, 'overlays cannot be told what is hosted here')
    this.#trouble = reason
  }
}

/** Whoever has not got this topic, or does not want this token, need not be asked again. */
function unlessFinal(error: unknown): void {
  if (!(error instanceof MarketError) || unanswered.has(error.code)) throw error
}
const unanswered: ReadonlySet<string> = new Set([
  'ERR_BUSY',
  'ERR_CHAIN_UNAVAILABLE',
  'ERR_LIMIT',
  'ERR_INTERNAL',
])
