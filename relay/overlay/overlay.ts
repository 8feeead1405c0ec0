/**
 * An overlay host (BRC-22, BRC-24) on the engine of @bsv/overlay. A transaction is verified, and known to the network, before
 * the engine sees it; what it came to is on disk, all of it or nothing, before it is answered. One after another, so that
 * none sees half of another.
 */
import { setImmediate } from 'node:timers/promises'
import type { LookupAnswer, LookupQuestion, STEAK } from '@bsv/sdk'
import type { Engine } from '@bsv/overlay/Engine.ts'
import type { Chain } from '../../contracts/chain/chain.ts'
import type { Beef } from '../../contracts/transaction/beef.ts'
import { advertLimits } from '../../market/advert.ts'
import { MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
import { exists } from '../data-directory.ts'
import { type Hosting, openHosting } from './hosting.ts'
import { boundedBeef, parseSubmitted, settle } from './settle.ts'
import type { Admittance, LevelStorage } from './storage.ts'
import type { Topic } from './topic.ts'
import type { PhipClaim } from './phip-routes.ts'
import { serviceNames } from './topics.ts'
import { lookAgain } from './upkeep.ts'

export const overlayLimits = {
  /** Of what comes: a BEEF, and as much again off the chain. */
  beefBytes: 1 << 20,
  topics: 8,
  /** Submissions that wait. */
  waiting: 32,
  /** Transactions that are remembered; they are forgotten after `rememberMs`. */
  applied: 200_000,
  /** Longer than any advert lives. */
  rememberMs: advertLimits.lifeMs + 2 * advertLimits.futureMs,
  sweepEveryMs: 600_000,
} as const

export interface OverlayOptions {
  /** Made when something is first asked of it. */
  readonly directory: string
  /** @throws ERR_BUSY while there is none */
  readonly chain: () => Chain
  readonly network: Chain['network']
  readonly now: () => number
  /** Whether so many bytes may be written. @throws ERR_BUSY */
  readonly admit: (bytes: number) => void
  readonly log: { warn(facts: object, message: string): void }
  /** Of the stamps of adverts; as readers ask for them unless said. */
  readonly bits?: number | undefined
  /** Hosts whose PHIP tokens are not taken. */
  readonly denied?: ReadonlySet<Key> | undefined
  /** Relays, or tokens of another topic, at most; for tests. */
  readonly most?: number | undefined
}

export interface Submission {
  readonly beef: Uint8Array
  readonly topics: readonly string[]
  readonly offChainValues?: Uint8Array | undefined
}

export class Overlay {
  readonly #options: OverlayOptions
  #parts: Promise<Hosting> | undefined
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0
  #sweptAt = 0
  /** By topic. */
  readonly #looked = new Map<string, number>()
  #isClosed = false
  #wasThere: Promise<boolean> | undefined

  /** Nothing is opened or loaded yet: most relays are never asked. */
  constructor(options: OverlayOptions) {
    this.#options = options
  }

  /**
   * The same again is answered the same, for as long as it is remembered.
   * @throws ERR_MALFORMED, ERR_TOO_LARGE, ERR_NOT_FOUND for a topic that is not hosted; ERR_TRANSACTION_REFUSED for what does not
   * verify, or the network does not take; ERR_CHAIN_UNAVAILABLE, ERR_BUSY
   */
  async submit({ beef: bytes, topics, offChainValues }: Submission): Promise<STEAK> {
    if (this.#waiting >= overlayLimits.waiting)
      throw new MarketError('ERR_BUSY', 'too many transactions are waiting')
    this.#waiting++
    try {
      const parts = await this.#open()
      const wanted = [...new Set(topics)].map((name) => topicOf(parts, name))
      const beef = parseSubmitted(bytes)
      const steak = await this.#known(parts, beef, wanted)
      const open = wanted.filter(({ name }) => steak[name] === undefined)
      if (open.length === 0) return steak
      const kept = await boundedBeef(beef)
      await settle(beef, this.#options.chain())
      const values = offChainValues === undefined ? undefined : [...offChainValues]
      return await this.#inTurn(() => this.#apply(parts, { kept, beef, open, values, steak }))
    } finally {
      this.#waiting--
    }
  }

  /** @throws ERR_MALFORMED, ERR_NOT_FOUND for a service that is not hosted; ERR_BUSY */
  async lookup(question: LookupQuestion): Promise<LookupAnswer> {
    // Most relays are never told anything.
    const isThere = this.#parts !== undefined || (await exists(this.#options.directory))
    if (serviceNames.includes(question.service) && !isThere) return { type: 'output-list', outputs: [] }
    const { engine, rows } = await this.#open()
    rows.check()
    if (!Object.hasOwn(engine.lookupServices, question.service))
      throw new MarketError('ERR_NOT_FOUND', 'this service is not hosted here')
    return engine.lookup(question)
  }

  /** Who takes messages for somebody, newest first. @throws ERR_BUSY */
  async hostsOf(user: Key): Promise<readonly PhipClaim[]> {
    return (await this.#isThere()) ? (await this.#open()).phip.claimsAbout(user) : []
  }

  /** What is hosted, and what is said of it. */
  async engine(): Promise<Engine> {
    return (await this.#open()).engine
  }

  /** Looks at some of what is held again, and forgets what is over; to be called after the chain was heard. Never rejects. */
  async follow(): Promise<void> {
    if (this.#parts === undefined || this.#isClosed) return
    try {
      const { rows, storage, topics } = await this.#parts
      await this.#inTurn(async () => {
        const now = this.#options.now()
        const chain = this.#options.chain()
        if (Math.abs(now - this.#sweptAt) >= overlayLimits.sweepEveryMs) {
          this.#sweptAt = now
          for (const topic of topics.values()) topic.sweep(now)
          await storage.forgetBefore(now - overlayLimits.rememberMs)
        }
        // After the sweep: what is found spent now is known for a while.
        for (const [name, topic] of topics)
          this.#looked.set(
            name,
            await lookAgain({ chain, storage, topic, from: this.#looked.get(name) ?? 0 }),
          )
        await rows.commit()
      })
    } catch (err) {
      if (err instanceof MarketError && err.code === 'ERR_CHAIN_UNAVAILABLE') return
      this.#options.log.warn({ err }, 'the overlay could not be looked after')
    }
  }

  /** Finishes what was accepted. */
  async close(): Promise<void> {
    this.#isClosed = true
    const parts = await this.#parts?.catch(() => undefined)
    await this.#last
    await parts?.rows.close()
  }

  /** Most relays are never told anything, and then this process alone makes the folder. */
  async #isThere(): Promise<boolean> {
    this.#wasThere ??= exists(this.#options.directory)
    return this.#parts !== undefined || (await this.#wasThere)
  }

  #open(): Promise<Hosting> {
    if (this.#isClosed) return Promise.reject(new MarketError('ERR_BUSY', 'the relay is closing'))
    this.#parts ??= openHosting(this.#options).catch((error: unknown) => {
      this.#parts = undefined
      throw error
    })
    return this.#parts
  }

  /** What is answered without another look: what was applied before, and what is nothing to a topic. */
  async #known({ storage }: Hosting, { subject }: Beef, topics: readonly Topic[]): Promise<STEAK> {
    const steak: STEAK = {}
    for (const { name, concerns } of topics) {
      const answered = storage.answerOf(subject.txid, name)
      if (answered !== undefined) steak[name] = answered
      else if (!concerns(subject.transaction) && !(await spendsHeld(storage, subject, name)))
        steak[name] = { outputsToAdmit: [], coinsToRetain: [], coinsRemoved: [] }
    }
    return steak
  }

  async #apply(
    { rows, storage, engine }: Hosting,
    { kept, beef, open, values, steak }: Applying,
  ): Promise<STEAK> {
    rows.check()
    if (storage.applied >= overlayLimits.applied)
      throw new MarketError('ERR_BUSY', 'as many transactions are remembered as there is room for')
    this.#options.admit(kept.length * beef.subject.transaction.outputs.length)
    const topics = open.map(({ name }) => name)
    try {
      const given = { beef: [...kept], topics }
      const admitted = await engine.submit(given, undefined, 'historical-tx', values)
      // The engine tells services of what was spent without waiting for them.
      await setImmediate()
      for (const [name, admittance] of Object.entries(admitted)) {
        const { txid } = beef.subject
        if (!isDuplicate(admittance)) storage.answer(txid, name, admittance)
        steak[name] = storage.answerOf(txid, name) ?? admittance
        // What came to nothing may come to something later.
        if (isNothing(admittance)) storage.forget(txid, name)
      }
    } catch (cause) {
      rows.discard()
      if (cause instanceof MarketError) throw cause
      throw new MarketError('ERR_TRANSACTION_REFUSED', (cause as Error).message, { cause }) // the engine throws Errors
    }
    await rows.commit()
    return steak
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#last.then(run)
    this.#last = result.catch(() => undefined)
    return result
  }
}

interface Applying {
  readonly kept: Uint8Array
  readonly beef: Beef
  readonly open: readonly Topic[]
  readonly values: number[] | undefined
  readonly steak: STEAK
}

/** The engine says nothing of what was removed for a transaction that it has seen. */
const isDuplicate = ({ coinsRemoved }: Admittance): boolean => coinsRemoved === undefined

const isNothing = ({ outputsToAdmit, coinsToRetain, coinsRemoved }: Admittance): boolean =>
  coinsRemoved?.length === 0 && outputsToAdmit.length === 0 && coinsToRetain.length === 0

function topicOf({ topics }: Hosting, name: string): Topic {
  const topic = topics.get(name)
  if (topic === undefined) throw new MarketError('ERR_NOT_FOUND', 'a topic is not hosted here')
  return topic
}

async function spendsHeld(storage: LevelStorage, { transaction }: Beef['subject'], topic: string) {
  for (const { txid, vout } of transaction.inputs)
    if ((await storage.findOutput(txid, vout, topic)) !== null) return true
  return false
}
