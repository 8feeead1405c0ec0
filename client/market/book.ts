/** The adverts this home knows: merged from its channels, kept on disk, each checked again whenever it is loaded. */
import { setImmediate as turn } from 'node:timers/promises'
import { AdvertBook } from '../../market/advert-book.ts'
import type { AdvertPolicy, SealedAdvert } from '../../market/advert.ts'
import { type AdvertChannel, channelLimits } from '../../market/channels/channel.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { codeOf } from '../errors.ts'
import { marketLimits, type SavedAdvert, saveAdverts, savedAdverts } from '../home/market.ts'
import { eachLimited } from '../wire/retry.ts'
import { openNamed } from './channels.ts'

const bookLimits = {
  /** Channels that are read at once. */
  atOnce: 4,
  /** For the whole of one channel. */
  readMs: 60_000,
  /** Texts that are looked at before others have their turn. */
  turn: 64,
} as const

/** What reading a channel came to. What it fails with stands here, and stops no other. */
export interface ChannelRead {
  readonly channel: string
  readonly texts: number
  /** New relays, and newer adverts of known ones. */
  readonly added: number
  readonly replaced: number
  /** Adverts that were here already, and those that something newer had replaced. */
  readonly known: number
  readonly older: number
  /** How many were refused, by code. */
  readonly refused: Readonly<Record<string, number>>
  /** Relays that other channels have, and this one did not say; only of one that was read to its end. */
  readonly lacking: number | null
  readonly error?: Error
}

/** An advert that holds, when its relay was first heard of, and which channels had it. */
export interface KnownAdvert {
  readonly sealed: SealedAdvert
  readonly seen: number
  readonly channels: readonly string[]
}

/** Only what an advert must be to be looked at: whom one would choose is asked later (market/score.ts). */
type Policy = Pick<AdvertPolicy, 'bits'>

export class Book {
  readonly #ctx: Pick<Context, 'home' | 'now'>
  readonly #policy: Policy
  readonly #book: AdvertBook
  readonly #seen = new Map<Key, number>()
  /** By relay: the advert that these channels had. */
  readonly #had = new Map<Key, { hash: string; channels: Set<string> }>()
  readonly #loaded = new Set<string>()

  private constructor(ctx: Pick<Context, 'home' | 'now'>, policy: Policy) {
    this.#ctx = ctx
    this.#policy = policy
    const dropped = (relay: Key) => {
      this.#seen.delete(relay)
      this.#had.delete(relay)
    }
    this.#book = new AdvertBook({ most: marketLimits.relays, dropped })
  }

  /** What was saved, as far as it still holds under this policy. @throws ERR_DAMAGED */
  static async load(ctx: Pick<Context, 'home' | 'now'>, policy: Policy = {}): Promise<Book> {
    const book = new Book(ctx, policy)
    book.#merge(await savedAdverts(ctx.home))
    return book
  }

  /** All that holds now. */
  live(): KnownAdvert[] {
    const now = this.#ctx.now()
    return [...this.#book.live(now)].map((sealed) => ({
      sealed,
      seen: this.#seen.get(sealed.address.key) ?? now,
      channels: [...(this.#had.get(sealed.address.key)?.channels ?? [])],
    }))
  }

  /** Reads all of these channels, takes what is better than what is here, and saves it. Never throws for a channel. */
  async refresh(ctx: Context, names: readonly string[], signal?: AbortSignal): Promise<ChannelRead[]> {
    const reads = new Map<string, { read: ChannelRead; said: ReadonlySet<Key> }>()
    await eachLimited([...new Set(names)], bookLimits.atOnce, async (name) => {
      reads.set(name, await this.#readOne(ctx, name, signal))
    })
    signal?.throwIfAborted()
    await this.#save()
    const live = [...this.#book.live(this.#ctx.now())].map(({ address }) => address.key)
    return names.flatMap((name) => {
      const done = reads.get(name)
      reads.delete(name)
      if (done === undefined) return []
      const isWhole = done.read.error === undefined
      return [{ ...done.read, lacking: isWhole ? live.filter((key) => !done.said.has(key)).length : null }]
    })
  }

  async #readOne(ctx: Context, name: string, signal?: AbortSignal) {
    const counts = { texts: 0, added: 0, replaced: 0, known: 0, older: 0 }
    const refused: Record<string, number> = {}
    const said = new Set<Key>()
    const timeout = AbortSignal.timeout(bookLimits.readMs)
    const limit = signal === undefined ? timeout : AbortSignal.any([signal, timeout])
    let channel: AdvertChannel | undefined
    let failure: { error?: Error } = {}
    try {
      channel = await openNamed(ctx, name)
      for await (const text of channel.read(limit)) {
        counts.texts += 1
        if (counts.texts % bookLimits.turn === 0) await turn()
        limit.throwIfAborted()
        try {
          counts[this.#offer(text, name)] += 1
          const key = keyIn(text)
          if (key !== undefined) said.add(key)
        } catch (error) {
          const code = codeOf(error)
          if (code === undefined) throw error
          refused[code] = (refused[code] ?? 0) + 1
        }
        if (counts.texts >= channelLimits.texts) break
      }
    } catch (error) {
      failure = { error: error as Error }
    }
    await channel?.close().catch(() => undefined)
    return { read: { channel: name, ...counts, refused, lacking: null, ...failure }, said }
  }

  /** @throws as `AdvertBook.offer` */
  #offer(text: string, channel?: string) {
    const outcome = this.#book.offer(text, { ...this.#policy, now: this.#ctx.now() })
    const key = keyIn(text)
    const held = key === undefined ? undefined : this.#book.get(key, this.#ctx.now())
    if (key === undefined || held?.text !== text) return outcome
    if (!this.#seen.has(key)) this.#seen.set(key, this.#ctx.now())
    const had = this.#had.get(key)
    const channels = had?.hash === held.hash ? had.channels : new Set<string>()
    if (channel !== undefined) channels.add(channel)
    this.#had.set(key, { hash: held.hash, channels })
    return outcome
  }

  #merge(saved: readonly SavedAdvert[]): void {
    for (const { advert, seen, channels } of saved) {
      if (this.#loaded.has(advert)) continue
      this.#loaded.add(advert)
      try {
        this.#offer(advert)
      } catch (error) {
        if (codeOf(error) === undefined) throw error
        continue // it has expired, or is not good enough under this policy
      }
      const key = keyIn(advert)
      if (key === undefined) continue
      this.#seen.set(key, Math.min(seen, this.#seen.get(key) ?? seen))
      const had = this.#had.get(key)
      if (had !== undefined && this.#book.get(key, this.#ctx.now())?.text === advert)
        for (const channel of channels) had.channels.add(channel)
    }
  }

  /** What another process saved meanwhile is merged, so that nothing is lost, revocations least of all. */
  async #save(): Promise<void> {
    await this.#ctx.home.lock('market-adverts', async () => {
      this.#merge(await savedAdverts(this.#ctx.home))
      const kept = [...this.#book.kept(this.#ctx.now())].map(({ text, address, hash }): SavedAdvert => {
        const had = this.#had.get(address.key)
        const channels = had?.hash === hash ? [...had.channels].slice(0, marketLimits.channels) : []
        return { advert: text, seen: this.#seen.get(address.key) ?? this.#ctx.now(), channels }
      })
      await saveAdverts(this.#ctx.home, kept)
    })
  }
}

/** Of a text that the book has looked at: canonical form has the field once. */
const keyIn = (text: string): Key | undefined => /"serverPubKey":"(0[23][0-9a-f]{64})"/.exec(text)?.[1]
