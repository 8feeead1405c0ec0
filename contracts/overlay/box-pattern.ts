/**
 * Regular expressions that strangers wrote, tested in time proportional to pattern × text: all positions are followed at once
 * (Thompson), nothing is tried again. Read is what JavaScript reads the same way: literals, `.`, classes, `\d \w \s` and their
 * opposites, groups, `|`, `* + ?` and `{m,n}` (also lazy: what is found does not depend on it), `^` and `$`. No look-around, no
 * back-references, no flags.
 */

import { type Accepts, machineOf, type Node, NoPattern, type Pattern } from './pattern-machine.ts'

export const patternLimits = {
  characters: 128,
  /** Of groups in groups. */
  depth: 16,
} as const

/** Undefined for what is no pattern, or none of these. */
export function parsePattern(source: string): Pattern | undefined {
  if (source.length === 0 || source.length > patternLimits.characters) return undefined
  try {
    return machineOf(new Parser(source).all())
  } catch (error) {
    if (error instanceof NoPattern) return undefined
    throw error
  }
}

const isDigit: Accepts = (code) => code >= 48 && code <= 57
const isLetter: Accepts = (code) => (code >= 65 && code <= 90) || (code >= 97 && code <= 122)
const isWord: Accepts = (code) => isDigit(code) || isLetter(code) || code === 95
const isSpace: Accepts = (code) => /\s/.test(String.fromCharCode(code))
const isLineEnd: Accepts = (code) => code === 10 || code === 13 || code === 0x2028 || code === 0x2029
const not =
  (accepts: Accepts): Accepts =>
  (code) =>
    !accepts(code)
const is =
  (wanted: number): Accepts =>
  (code) =>
    code === wanted
const kinds: Readonly<Record<string, Accepts>> = {
  ...{ d: isDigit, D: not(isDigit), w: isWord, W: not(isWord), s: isSpace, S: not(isSpace) },
}
const controls: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13 }

class Parser {
  readonly #source: string
  #at = 0
  #depth = 0

  constructor(source: string) {
    this.#source = source
  }

  all(): Node {
    const node = this.#either()
    if (this.#at < this.#source.length) throw new NoPattern()
    return node
  }

  #either(): Node {
    if (++this.#depth > patternLimits.depth) throw new NoPattern()
    const parts = [this.#sequence()]
    while (this.#skip('|')) parts.push(this.#sequence())
    this.#depth--
    return parts.length === 1 ? parts[0]! : { kind: 'any', parts }
  }

  #sequence(): Node {
    const parts: Node[] = []
    while (this.#at < this.#source.length && !'|)'.includes(this.#peek())) parts.push(this.#repeated())
    return { kind: 'all', parts }
  }

  #repeated(): Node {
    const part = this.#one()
    const counts = this.#counts()
    if (counts === undefined) return part
    if (part.kind === 'start' || part.kind === 'end') throw new NoPattern()
    this.#skip('?')
    return { kind: 'repeat', part, ...counts }
  }

  #counts(): { least: number; most: number } | undefined {
    if (this.#skip('*')) return { least: 0, most: Number.POSITIVE_INFINITY }
    if (this.#skip('+')) return { least: 1, most: Number.POSITIVE_INFINITY }
    if (this.#skip('?')) return { least: 0, most: 1 }
    if (this.#peek() !== '{') return undefined
    const [text, first, comma, last] =
      /^\{([0-9]{1,3})(,)?([0-9]{1,3})?\}/.exec(this.#source.slice(this.#at)) ?? []
    // JavaScript takes a brace that counts nothing for itself.
    if (text === undefined || (comma === undefined && last !== undefined)) throw new NoPattern()
    this.#at += text.length
    const least = Number(first)
    const most = comma === undefined ? least : last === undefined ? Number.POSITIVE_INFINITY : Number(last)
    if (most < least) throw new NoPattern()
    return { least, most }
  }

  #one(): Node {
    const character = this.#take()
    if (character === '^') return { kind: 'start' }
    if (character === '$') return { kind: 'end' }
    if (character === '.') return { kind: 'take', accepts: not(isLineEnd) }
    if (character === '(') return this.#group()
    if (character === '[') return { kind: 'take', accepts: this.#class() }
    if (character === '\\') return { kind: 'take', accepts: this.#escaped() }
    if ('*+?{}])'.includes(character)) throw new NoPattern()
    return { kind: 'take', accepts: is(character.charCodeAt(0)) }
  }

  #group(): Node {
    if (this.#skip('?') && !this.#skip(':')) throw new NoPattern()
    const node = this.#either()
    if (!this.#skip(')')) throw new NoPattern()
    return node
  }

  #class(): Accepts {
    const isNegated = this.#skip('^')
    const accepted: Accepts[] = []
    while (!this.#skip(']')) {
      const from = this.#member()
      if (this.#peek() !== '-' || this.#source[this.#at + 1] === ']') {
        accepted.push(typeof from === 'number' ? is(from) : from)
        continue
      }
      this.#take()
      const to = this.#member()
      if (typeof from !== 'number' || typeof to !== 'number' || to < from) throw new NoPattern()
      accepted.push((code) => code >= from && code <= to)
    }
    const isAccepted: Accepts = (code) => accepted.some((accepts) => accepts(code))
    return isNegated ? not(isAccepted) : isAccepted
  }

  #member(): number | Accepts {
    const character = this.#take()
    if (character !== '\\') return character.charCodeAt(0)
    const next = this.#take()
    return kinds[next] ?? this.#literal(next)
  }

  #escaped(): Accepts {
    const next = this.#take()
    return kinds[next] ?? is(this.#literal(next))
  }

  /** Of letters and digits only those that have a meaning that is known here. */
  #literal(escaped: string): number {
    const control = controls[escaped]
    if (control !== undefined) return control
    if (isWord(escaped.charCodeAt(0))) throw new NoPattern()
    return escaped.charCodeAt(0)
  }

  #peek(): string {
    return this.#source[this.#at] ?? ''
  }

  #take(): string {
    const character = this.#peek()
    if (character === '') throw new NoPattern()
    this.#at++
    return character
  }

  #skip(character: string): boolean {
    if (this.#peek() !== character) return false
    this.#at++
    return true
  }
}
