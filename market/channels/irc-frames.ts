/**
 * Adverts in lines of IRC (docs/protocol.md §12.6): a text is cut into lines `RM1 <id> <i>/<n> <base64>`, and put together again
 * from what strangers say, in any order and in bounded memory. Pure: no clock, no socket.
 */
import { advertLimits } from '../advert.ts'
import { fromBase64, fromUtf8, toBase64, toUtf8, utf8Length } from '../bytes.ts'
import { MarketError } from '../errors.ts'
import { sha256Hex } from '../hash.ts'
import { putBounded } from '../lru.ts'

export const frameLimits = {
  /** A line of IRC, with its CRLF. */
  lineBytes: 512,
  /** What servers put before a line: `:nick!user@host `, with 63 bytes of host. */
  prefixBytes: 100,
  channelLength: 50,
  /** Lines of one text, and characters of all of them: base64 of the longest advert. */
  parts: 32,
  characters: 4 * Math.ceil(advertLimits.textBytes / 3),
  /** Texts of which some lines are missing: of one nick, and of all. The stalest goes first. */
  unfinishedOfOne: 4,
  unfinished: 256,
  /** How long the missing lines may take, milliseconds. */
  lifeMs: 120_000,
  /** What is heard of one nick: this many lines at once, then one in so many milliseconds. */
  burst: 128,
  lineMs: 500,
  /** Nicks whose pace is known; the one that has been silent for longest goes first. */
  nicks: 4_096,
} as const

/** What a reader says who does not want to wait for the next round. */
export const requestLine = 'RM1 ?'

const frame = /^RM1 ([0-9a-f]{16}) ([1-9][0-9]?)\/([1-9][0-9]?) ([A-Za-z0-9+/]+={0,2})$/
const idOf = (text: string): string => sha256Hex(text).slice(0, 16)

/** Lines that fit into `PRIVMSG #channel :…` on every server. @throws ERR_TOO_LARGE */
export function splitText(text: string, channel: string): string[] {
  if (utf8Length(text) > advertLimits.textBytes)
    throw new MarketError('ERR_TOO_LARGE', `an advert has at most ${advertLimits.textBytes} bytes`)
  const head = `RM1 ${idOf(text)} 99/99 `
  const around = `PRIVMSG ${channel} :${head}\r\n`
  const room = frameLimits.lineBytes - frameLimits.prefixBytes - around.length
  const whole = toBase64(toUtf8(text))
  const count = Math.ceil(whole.length / room)
  return Array.from({ length: count }, (_, index) => {
    const part = whole.slice(index * room, (index + 1) * room)
    return `RM1 ${idOf(text)} ${index + 1}/${count} ${part}`
  })
}

/** How often something may happen: `burst` times at once, then once in `everyMs`. */
export class Pace {
  readonly #burst: number
  readonly #everyMs: number
  /** When all that was taken would have happened, evenly spread. */
  #spread = Number.NEGATIVE_INFINITY

  constructor(burst: number, everyMs: number) {
    this.#burst = burst
    this.#everyMs = everyMs
  }

  /** Milliseconds from `now` until one more may happen; 0 when it may at once. */
  wait(now: number): number {
    return Math.max(0, this.#spread - (this.#burst - 1) * this.#everyMs - now)
  }

  /** Takes the next place in the row, and returns how long to wait for it. */
  take(now: number): number {
    const wait = this.wait(now)
    this.#spread = Math.max(this.#spread, now) + this.#everyMs
    return wait
  }
}

interface Unfinished {
  readonly nick: string
  readonly id: string
  readonly parts: (string | undefined)[]
  readonly since: number
  missing: number
  characters: number
}

/** Puts texts together, each from the lines of one nick. */
export class Reassembly {
  /** By nick and id; those that grew last are the last. */
  readonly #unfinished = new Map<string, Unfinished>()
  readonly #paces = new Map<string, Pace>()

  /** Texts of which lines are missing. */
  get size(): number {
    return this.#unfinished.size
  }

  /** Returns the text that `line` completes, if it does and its hash is the one that was said. Whatever is odd is nothing. */
  take(nick: string, line: string, now: number): string | undefined {
    const [, id, index, count, part] = frame.exec(line) ?? []
    if (id === undefined || index === undefined || count === undefined || part === undefined) return undefined
    if (Number(index) > Number(count) || Number(count) > frameLimits.parts) return undefined
    if (this.#isTooFast(nick, now)) return undefined
    const key = `${nick} ${id}`
    const text = this.#of(key, nick, id, Number(count), now)
    const place = Number(index) - 1
    // The first word counts: a line that is said again, and a line that contradicts, change nothing.
    if (text.parts.length !== Number(count) || text.parts[place] !== undefined) return undefined
    text.parts[place] = part
    text.missing -= 1
    text.characters += part.length
    const isOver = text.missing === 0 || text.characters > frameLimits.characters
    if (!isOver) putBounded(this.#unfinished, key, text, frameLimits.unfinished)
    else this.#unfinished.delete(key)
    return text.missing === 0 ? joined(text) : undefined
  }

  #isTooFast(nick: string, now: number): boolean {
    const pace = this.#paces.get(nick) ?? new Pace(frameLimits.burst, frameLimits.lineMs)
    putBounded(this.#paces, nick, pace, frameLimits.nicks)
    if (pace.wait(now) > 0) return true
    pace.take(now)
    return false
  }

  #of(key: string, nick: string, id: string, count: number, now: number): Unfinished {
    const known = this.#unfinished.get(key)
    if (known !== undefined && now - known.since < frameLimits.lifeMs) return known
    this.#unfinished.delete(key)
    const own = [...this.#unfinished].filter(([, text]) => text.nick === nick)
    if (own.length >= frameLimits.unfinishedOfOne) this.#unfinished.delete(own[0]![0])
    const parts = Array<string | undefined>(count).fill(undefined)
    return { nick, id, parts, since: now, missing: count, characters: 0 }
  }
}

function joined({ id, parts, characters }: Unfinished): string | undefined {
  if (characters > frameLimits.characters) return undefined
  try {
    const text = fromUtf8(fromBase64(parts.join('')))
    return idOf(text) === id ? text : undefined
  } catch {
    return undefined // no base64 of a text
  }
}
