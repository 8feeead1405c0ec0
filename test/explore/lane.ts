/** The model: what one owner and his receivers know of his records, and so what a relay must and must not say. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { DeleteReceipt, Receipt } from '../../contracts/receipt.ts'
import type { Sealed } from '../../market/envelope.ts'
import { protocolLimits } from '../../market/units.ts'
import { listAll } from '../fixtures/acknowledged.ts'
import type { Dice } from '../fixtures/dice.ts'
import type { RelayProcess } from '../fixtures/relay.ts'
import { chunks, sendBatch, sendPipelined, sendSingle } from '../fixtures/storm.ts'
import { type Actor, actor, sealFor, sealRecord } from '../fixtures/wire.ts'

const recordsPerLane = 40
/** Half of the time that a message is fresh. */
const repeatMs = 60_000

/** `maybe` after a request whose answer was lost. */
type Fact = 'no' | 'maybe' | 'yes'

interface Pull {
  readonly sealed: Sealed
  outcome: 'served' | 'lost'
  /** Since the relay started. */
  repeats: number
  /** Its first answer was lost, so the relay may have counted one more. */
  unsure?: boolean
}

/** One record and all that is known of it. */
interface Subject {
  readonly sealed: Sealed
  readonly path: string
  readonly recordId: string
  readonly receiver: Actor
  readonly content: Uint8Array
  readonly maxPulls: number
  stored: Fact
  deleted: Fact
  receipt?: Receipt
  deleteReceipt?: DeleteReceipt
  readonly pulls: Pull[]
}

/** An integer below its argument. */

const served = ({ pulls }: Subject): number => pulls.filter(({ outcome }) => outcome === 'served').length
const isThere = ({ stored, deleted }: Subject): boolean => stored === 'yes' && deleted === 'no'
const isAbsent = ({ stored, deleted }: Subject): boolean => stored === 'no' || deleted === 'yes'
/** Even if every pull whose answer was lost was counted. */
const hasPulls = ({ pulls, maxPulls }: Subject): boolean => pulls.length < maxPulls

/** One owner, who alone changes his records: what he knows of them is certain but for the requests that a kill cut off. */
export class Lane {
  readonly #owner = actor()
  readonly #dice: Dice
  readonly #receivers: readonly Actor[]
  readonly #answered: () => void
  #subjects: Subject[] = []

  constructor(dice: Dice, receivers: readonly Actor[], answered: () => void) {
    this.#dice = dice
    this.#receivers = receivers
    this.#answered = answered
  }

  /** Some requests at once, about different records. */
  async step(relay: RelayProcess): Promise<void> {
    this.#subjects = this.#subjects.filter(({ deleted }) => deleted !== 'yes' || this.#dice(10) > 0)
    while (this.#subjects.length < recordsPerLane) this.#subjects.push(await this.#invent(relay))
    const chosen = new Set(Array.from({ length: 1 + this.#dice(12) }, () => this.#pick(this.#subjects)))
    await Promise.all([...chosen].map((subject) => this.#act(relay, subject)))
    if (this.#dice(8) === 0) await this.check(relay).catch(unlessBroken)
  }

  /** Throws unless the relay has and lists exactly what it should. */
  async check(relay: RelayProcess): Promise<void> {
    const owner = this.#owner.identity
    const outbox = (await listAll(relay, this.#owner, { owner })).entries
    this.#compare(outbox, this.#subjects, isThere, isAbsent)
    for (const receiver of this.#receivers) {
      const inbox = (await listAll(relay, receiver, { owner })).entries
      const theirs = this.#subjects.filter((subject) => subject.receiver === receiver)
      const usedUp = (subject: Subject) => isAbsent(subject) || served(subject) === subject.maxPulls
      this.#compare(inbox, theirs, (subject) => isThere(subject) && hasPulls(subject), usedUp)
    }
    await this.#prove(relay, this.#subjects.filter(isThere))
  }

  forgetRepeats(): void {
    for (const { pulls } of this.#subjects)
      for (const pull of pulls) Object.assign(pull, { repeats: 0, unsure: false })
  }

  #compare(
    entries: { path: string; at: number }[],
    subjects: Subject[],
    must: (subject: Subject) => boolean,
    mustNot: (subject: Subject) => boolean,
  ): void {
    const listed = new Map(entries.map((entry) => [entry.path, entry]))
    assert.equal(listed.size, entries.length, 'a record is listed once')
    for (const subject of subjects) {
      const entry = listed.get(subject.path)
      listed.delete(subject.path)
      if (must(subject)) assert.equal(entry?.at, subject.receipt?.at ?? entry?.at ?? 'listed', subject.path)
      if (mustNot(subject)) assert.equal(entry, undefined, `${subject.path} must not be listed`)
    }
    assert.deepEqual([...listed.keys()], [], 'what is listed was written and not deleted')
  }

  /** Its bytes are held: a proof shows them without using up a pull. */
  async #prove(relay: RelayProcess, subjects: Subject[]): Promise<void> {
    for (const chunk of chunks(subjects, 50)) {
      const asked = chunk.map(({ path }) => sealFor(relay, this.#owner, { type: 'prove', path, index: 0 }))
      let proven = 0
      await sendBatch(relay.url, await Promise.all(asked), (_, reply) => {
        const { content, path } = chunk[proven++]!
        assert.equal(reply.result?.data, Buffer.from(content).toString('base64'), `${path}: ${reply.error}`)
      })
      if (proven < chunk.length) throw new Error('the relay is gone')
    }
  }

  async #invent(relay: RelayProcess): Promise<Subject> {
    const [receiver, recordId] = [this.#pick(this.#receivers), randomBytes(16).toString('hex')]
    const content = randomBytes(1 + this.#dice(1024))
    const maxPulls = 1 + this.#dice(4)
    const sealed = await sealRecord(relay, this.#owner, receiver, { recordId, content, maxPulls })
    const facts = { stored: 'no', deleted: 'no' } as const
    return { sealed, path: sealed.path, recordId, receiver, content, maxPulls, ...facts, pulls: [] }
  }

  #act(relay: RelayProcess, subject: Subject): Promise<void> {
    const chance = this.#dice(100)
    if (subject.stored === 'no' || chance < 20) return this.#write(relay, subject)
    if (chance < 28 && subject.stored === 'yes') return this.#contradict(relay, subject)
    if (chance < 34) return this.#delete(relay, subject)
    const repeatable = subject.pulls.filter(({ sealed }) => Date.now() - sealed.msg.timestamp < repeatMs)
    if (chance < 65 && repeatable.length > 0) return this.#readAgain(relay, subject, this.#pick(repeatable))
    return this.#read(relay, subject)
  }

  async #write(relay: RelayProcess, subject: Subject): Promise<void> {
    const { sealed } = subject
    const isFresh = Date.now() - sealed.msg.timestamp < repeatMs
    const record = JSON.parse(sealed.text)
    const message = isFresh ? sealed : await sealFor(relay, this.#owner, { type: 'store', record })
    const reply = await this.#ask(relay, message)
    if (reply === undefined) {
      if (subject.stored === 'no') subject.stored = 'maybe'
    } else if (reply.code === 'ERR_CONFLICT') {
      assert.notEqual(subject.deleted, 'no', `${subject.path} was not deleted and cannot be written`)
      subject.deleted = 'yes'
    } else {
      assert.equal(reply.result, true, `a write was answered ${JSON.stringify(reply)}`)
      assert.notEqual(subject.deleted, 'yes', `${subject.path} was deleted and is back`)
      if (subject.receipt !== undefined) assert.deepEqual(reply.receipt, subject.receipt)
      Object.assign(subject, { receipt: reply.receipt, stored: 'yes', deleted: 'no' })
    }
  }

  /** Another record under an id that is, or lately was, in use. */
  async #contradict(relay: RelayProcess, { recordId, receiver, path }: Subject): Promise<void> {
    const other = await sealRecord(relay, this.#owner, receiver, { recordId })
    const reply = await this.#ask(relay, other)
    if (reply !== undefined) assert.equal(reply.code, 'ERR_CONFLICT', `${path} was written over`)
  }

  async #delete(relay: RelayProcess, subject: Subject): Promise<void> {
    const message = await sealFor(relay, this.#owner, { type: 'delete', recordId: subject.recordId })
    const reply = await this.#ask(relay, message)
    if (reply === undefined && subject.deleted === 'no') subject.deleted = 'maybe'
    if (reply === undefined) return
    assert.equal(reply.result, true, `a delete was answered ${JSON.stringify(reply)}`)
    if (reply.receipt === null) {
      assert.notEqual(subject.stored, 'yes', `${subject.path} was stored and is unknown`)
      Object.assign(subject, { stored: 'no', deleted: 'no' })
      return
    }
    if (subject.deleteReceipt !== undefined) assert.deepEqual(reply.receipt, subject.deleteReceipt)
    Object.assign(subject, { deleteReceipt: reply.receipt, stored: 'yes', deleted: 'yes' })
  }

  async #read(relay: RelayProcess, subject: Subject): Promise<void> {
    const sealed = await sealFor(relay, subject.receiver, { type: 'read', path: subject.path })
    const reply = await this.#ask(relay, sealed)
    if (reply === undefined) subject.pulls.push({ sealed, outcome: 'lost', repeats: 0 })
    else if (reply.record !== undefined) {
      this.#serve(subject, reply)
      subject.pulls.push({ sealed, outcome: 'served', repeats: 0 })
      assert.ok(served(subject) <= subject.maxPulls, `${subject.path} was served too often`)
    } else this.#refuse(subject, reply, hasPulls(subject))
  }

  async #readAgain(relay: RelayProcess, subject: Subject, pull: Pull): Promise<void> {
    const reply = await this.#ask(relay, pull.sealed)
    if (reply === undefined) return
    if (reply.record !== undefined) {
      this.#serve(subject, reply)
      if (pull.outcome === 'served') pull.repeats++
      else Object.assign(pull, { outcome: 'served', unsure: true })
      assert.ok(served(subject) <= subject.maxPulls, `${subject.path} was served to too many reads`)
      assert.ok(pull.repeats <= protocolLimits.readRepeats, `${subject.path} was repeated too often`)
      return
    }
    const most = protocolLimits.readRepeats - (pull.unsure ? 1 : 0)
    if (reply.code === 'ERR_REPLAYED' && pull.repeats >= most) return
    if (reply.code === 'ERR_REPLAYED' && subject.deleted !== 'no') return // it was answered null since
    if (pull.outcome === 'served') return this.#refuse(subject, reply, true)
    subject.pulls.splice(subject.pulls.indexOf(pull), 1)
    this.#refuse(subject, reply, hasPulls(subject))
  }

  #serve(subject: Subject, { record }: { record: unknown }): void {
    assert.equal(JSON.stringify(record), subject.sealed.text, `${subject.path} is served as it was written`)
    assert.notEqual(subject.deleted, 'yes', `${subject.path} was deleted and is served`)
    Object.assign(subject, { stored: 'yes', deleted: 'no' })
  }

  /** Null where the record might have been served; `due`: it would have been, if it is there. */
  #refuse(subject: Subject, reply: any, due: boolean): void {
    assert.equal(reply.result, null, `a read of ${subject.path} was answered ${JSON.stringify(reply)}`)
    assert.ok(!(due && isThere(subject)), `${subject.path} is stored and was not served`)
    if (due && subject.stored === 'yes') subject.deleted = 'yes'
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#dice(items.length)]!
  }

  /** On any transport; undefined when the answer was lost. */
  async #ask(relay: RelayProcess, message: Sealed): Promise<any> {
    let found: any
    const told = (_: Sealed, reply: any) => {
      found = reply
      this.#answered()
    }
    const way = this.#dice(3)
    if (way === 0) await sendSingle(relay.url, message, told)
    else if (way === 1) await sendBatch(relay.url, [message], told)
    else await sendPipelined(relay.url, [message], told)
    return found
  }
}

/** What fails because the relay is gone is no violation; what an assertion says is. */
function unlessBroken(error: unknown): void {
  if (error instanceof assert.AssertionError) throw error
}
