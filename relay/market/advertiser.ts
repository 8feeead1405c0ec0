/**
 * The relay's own advert: made from how the relay is at this moment, on disk before anybody sees it, kept true and fresh, and
 * revoked when it is not to be found any more (docs/protocol.md §12.1).
 */
import {
  type Advert,
  advertLimits,
  decodeAdvert,
  isRevocation,
  type SealedAdvert,
  sealAdvert,
  stampText,
} from '../../market/advert.ts'
import { canonicalize } from '../../market/canonical.ts'
import { type OwnAdvert, ownAdvert, putOwnAdvert } from '../store/adverts.ts'
import type { Progress } from './miner.ts'
import { type AdvertiserOptions, advertPolicy, type Offer, offerOf, ownBoard } from './offer.ts'
import { type Outcome, Publishing } from './publishing.ts'

export class Advertiser {
  readonly #options: AdvertiserOptions
  readonly #closing = new AbortController()
  readonly #publishings = new Map<string, Publishing>()
  #own: OwnAdvert | undefined
  #sealed: SealedAdvert | undefined
  #progress: Progress | undefined
  #timer: NodeJS.Timeout | undefined
  /** One advert after another. */
  #made: Promise<void> = Promise.resolve()
  /** After a failure, so that work is not done again and again for nothing. */
  #makeAfter = 0

  private constructor(options: AdvertiserOptions) {
    this.#options = options
    this.#own = ownAdvert(options.store)
    try {
      this.#sealed = this.#own && decodeAdvert(this.#own.text)
    } catch (err) {
      // Of another version of the protocol: the next one stands above it all the same.
      options.log.warn({ err }, 'the latest advert cannot be read')
    }
  }

  /** @throws ERR_INTERNAL when what is stored does not decode */
  static async open(options: AdvertiserOptions): Promise<Advertiser> {
    const advertiser = new Advertiser(options)
    const { channels } = options
    // A channel that is new must be known to be told of a revocation later.
    if (channels.length > 0) await advertiser.#note({ channels: [...channels] })
    return advertiser
  }

  /** From now on it looks after its advert by itself. */
  start(): void {
    const look = () => void this.look().catch((err) => this.#options.log.error({ err }, 'advertising failed'))
    this.#timer = setInterval(look, advertPolicy.lookEveryMs)
    this.#timer.unref()
    look()
  }

  /** What holds; null when nothing is advertised. */
  get current(): Advert | null {
    const sealed = this.#sealed
    return sealed !== undefined && sealed.advert.expires > this.#options.now() ? sealed.advert : null
  }

  get state() {
    const { now } = this.#options
    const [time, offer] = [now(), this.#wanted()]
    const isDue = typeof offer !== 'string' && this.#isOutdated(offer, time)
    return {
      advert: this.current,
      text: this.#sealed?.text ?? null,
      hash: this.#sealed?.hash ?? null,
      bits: this.#sealed?.bits ?? null,
      isRevoked: this.#sealed !== undefined && isRevocation(this.#sealed.advert),
      /** Why nothing is advertised. */
      silent: typeof offer === 'string' ? offer : null,
      /** When the next one is made at the earliest, where one is due. */
      nextAt: isDue ? Math.max(time, this.#notBefore) : null,
      mining: this.#progress ?? null,
      channels: this.#outcomes(),
    }
  }

  /** Tries to publish since the start, by channel. */
  get tries(): { channel: string; published: number; failed: number }[] {
    for (const name of [ownBoard, ...this.#options.channels]) this.#publishing(name)
    return [...this.#publishings].map(([channel, { tries }]) => ({ channel, ...tries }))
  }

  /** Makes what is due and has every channel tried that is to be tried. Resolves when all were. */
  async look(): Promise<void> {
    const made = this.#made.then(() => this.#makeWhatIsDue())
    this.#made = made.catch(() => {})
    await made
    await this.#tell()
  }

  /** Advertises again after a revocation, and tries every channel at once. */
  publish(): Promise<void> {
    return this.#insist({ isPaused: false })
  }

  /** Revokes what is advertised, on every channel that has it, and is silent until `publish`. */
  revoke(): Promise<void> {
    return this.#insist({ isPaused: true })
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#closing.abort()
    await this.#made
    for (const publishing of this.#publishings.values()) await publishing.close()
  }

  async #insist(change: Pick<OwnAdvert, 'isPaused'>): Promise<void> {
    await this.#note(change)
    this.#makeAfter = 0
    for (const publishing of this.#publishings.values()) publishing.hurry()
    await this.look()
  }

  async #makeWhatIsDue(): Promise<void> {
    const now = this.#options.now()
    const mayMake = this.#options.isTimeTrusted() && now >= this.#makeAfter && !this.#isBehind(now)
    if (this.#closing.signal.aborted || !mayMake) return
    const offer = this.#wanted()
    try {
      if (typeof offer === 'string') {
        if (this.current !== null) await this.#make(offerOf(this.current), { isRevocation: true })
      } else if (this.#isOutdated(offer, now) && now >= this.#notBefore) await this.#make(offer)
    } catch (error) {
      if (this.#closing.signal.aborted) return
      this.#makeAfter = now + advertPolicy.paceMs
      throw error
    }
  }

  /** Hands the advert of now to every channel that has not got it. */
  async #tell(): Promise<void> {
    const sealed = this.#sealed
    if (sealed === undefined || !this.#isWorthTelling(sealed, this.#options.now())) return
    await Promise.all(this.#names().map((name) => this.#publishing(name).publish(sealed)))
  }

  /** An advert made now would be one of the future to everybody else: the clock was ahead when the latest was made. */
  #isBehind(now: number): boolean {
    return (this.#sealed?.advert.seq ?? 0) >= now + advertLimits.futureMs
  }

  /** What to advertise, or why nothing. */
  #wanted(): Offer | string {
    const { channels, offer, now } = this.#options
    if (channels.length === 0) return 'no --advertise'
    if (this.#own?.isPaused) return 'revoked: relayd advert publish'
    return this.#isBehind(now()) ? 'the clock is behind the latest advert' : offer(now())
  }

  #isOutdated(offer: Offer, now: number): boolean {
    const advert = this.current
    if (advert === null || now >= advert.timestamp + advertPolicy.lifeMs / 2) return true
    return canonicalize(offerOf(advert)) !== canonicalize(offer)
  }

  get #notBefore(): number {
    return this.#sealed === undefined ? 0 : this.#sealed.advert.timestamp + advertPolicy.paceMs
  }

  async #make(offer: Offer, { isRevocation = false } = {}): Promise<void> {
    const { signer, now, bits, mine, log } = this.#options
    const timestamp = now()
    const claims = {
      ...offer,
      timestamp,
      expires: isRevocation ? timestamp : timestamp + advertPolicy.lifeMs,
      seq: Math.max((this.#sealed?.advert.seq ?? -1) + 1, timestamp),
    }
    const onProgress = (progress: Progress) => {
      this.#progress = progress
    }
    const { signal } = this.#closing
    const { stamp, tried } = await mine(stampText(claims), { bits, onProgress, signal }).finally(() => {
      this.#progress = undefined
    })
    const sealed = await sealAdvert(claims, stamp, signer)
    await this.#note({ text: sealed.text })
    this.#sealed = sealed
    log.info({ hash: sealed.hash, isRevocation, tried }, 'made an advert')
  }

  /** On disk when it resolves. Where nothing was advertised yet, there is nothing to note. */
  async #note(change: Partial<OwnAdvert>): Promise<void> {
    const { store, channels } = this.#options
    const before = this.#own
    const own = { text: '', channels: [...channels], isPaused: false, ...before, ...change }
    if (own.text === '' || (before !== undefined && canonicalize(own) === canonicalize(before))) return
    await store.commit((batch) => putOwnAdvert(batch, own))
    this.#own = own
  }

  /** An advert while it holds; a revocation while there may be something that it revokes. */
  #isWorthTelling({ advert }: SealedAdvert, now: number): boolean {
    return now < (isRevocation(advert) ? advert.timestamp + advertLimits.lifeMs : advert.expires)
  }

  /** Channels that are to have the advert. */
  #names(): string[] {
    return [...new Set([...(this.#options.hasBoard ? [ownBoard] : []), ...(this.#own?.channels ?? [])])]
  }

  #publishing(name: string): Publishing {
    const { open, now, log } = this.#options
    const known = this.#publishings.get(name)
    if (known !== undefined) return known
    const made = new Publishing({ name, open, now, log, signal: this.#closing.signal })
    this.#publishings.set(name, made)
    return made
  }

  #outcomes(): Outcome[] {
    return this.#own === undefined
      ? []
      : this.#names().map((name) => this.#publishing(name).outcomeOf(this.#sealed?.hash))
  }
}
