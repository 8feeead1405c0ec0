/**
 * The pull log of an owner beside his entries: every billed pull is there, with its signed read unless it came through the
 * file-system view, and no read is there twice.
 */
import { sha256Hex } from '../../../market/hash.ts'
import { formatPath } from '../../../market/record.ts'
import type { Hash, Key } from '../../../market/units.ts'
import { ownerOfKey, ownerPart, ownerPlaceKeyBytes, placeOfKey } from '../../store/keys.ts'
import { type Entry, noHash, Pull } from '../../store/rows.ts'
import type { ChainsCheck } from './chains.ts'
import { type Findings, nameOf } from './findings.ts'
import type { Stream } from './stream.ts'

/**
 * Reads remembered in each of two generations, about 15 MB: at least the last so many of an owner are compared with each
 * other. A read is fresh for 130 s, so that a second billing follows soon, or is no accident of this program.
 */
const generationReads = 131_072

export class PullsCheck {
  readonly #stream: Stream
  readonly #owner: Buffer
  readonly #findings: Findings
  #recent = new Set<Hash>()
  #older = new Set<Hash>()
  readonly #chains: ChainsCheck | undefined
  pulls = 0

  /** `chains` is shown every pull. */
  constructor(stream: Stream, owner: Buffer, findings: Findings, chains?: ChainsCheck) {
    this.#stream = stream
    this.#owner = owner
    this.#findings = findings
    this.#chains = chains
  }

  /** The signed read of this place, if there is one, after a look at all before it. */
  async at(place: number): Promise<Pull | undefined> {
    for (;;) {
      const next = await this.#stream.peek()
      if (next === undefined || !ownerPart(next[0]).equals(this.#owner)) return undefined
      const [key, value] = next
      const isPlaced = key.length === ownerPlaceKeyBytes
      if (isPlaced && placeOfKey(key) > place) return undefined
      await this.#stream.next()
      const pull = this.#findings.read(Pull, key, value, ownerPlaceKeyBytes)
      this.pulls++
      if (pull !== undefined) {
        this.#look(key, pull)
        this.#chains?.look(placeOfKey(key), pull)
      }
      if (isPlaced && placeOfKey(key) === place) return pull
    }
  }

  /** What the signed read of a billed pull has that the entry does not say. */
  compare(place: number, entry: Entry, pull: Pull): void {
    const { recordId, bytes, purse } = pull
    if (recordId === entry.recordId && bytes === entry.bytes && purse === entry.purse) return
    const read = `is of ${recordId} with ${bytes} bytes from the purse ${purse}, not of ${entry.bytes} bytes`
    this.#findings.say(
      `${nameOf(this.#owner.toString('hex'), place, entry)}: the signed read of its place ${read}`,
    )
  }

  #look(key: Buffer, { receiver, recordId, text, re }: Pull): void {
    const owner: Key = ownerOfKey(key)
    if (text === '' && re === noHash) return // it came through the file-system view
    const name = `the signed read ${placeOfKey(key)} of ${owner} (${recordId})`
    // Signed texts are canonical, and a path has no character that JSON would escape.
    if (!text.includes(`"${formatPath({ owner, receiver, recordId })}"`))
      this.#findings.say(`${name} does not ask for the record it was billed as`)
    const hash = signedHash(text)
    if (hash !== re) this.#findings.say(`${name} is not the one whose hash its pull has`)
    if (this.#recent.has(hash) || this.#older.has(hash)) this.#findings.say(`${name} is there twice`)
    if (this.#recent.size === generationReads) {
      this.#older = this.#recent
      this.#recent = new Set()
    }
    this.#recent.add(hash)
  }
}

/** What names a sealed text (market/envelope.ts): the hash of what was signed, which is all but the signature. */
function signedHash(text: string): Hash {
  // Only times and keys follow the signature.
  const start = text.lastIndexOf('"sig":"')
  const end = text.indexOf('",', start) + 2
  return sha256Hex(text.slice('{"msg":'.length, start) + text.slice(end, -1))
}
