/** The records an owner has at the moment, beside everything else that must be there for each of them. */
import { setImmediate } from 'node:timers/promises'
import { ceilSatoshi, worstUnits } from '../../../market/price.ts'
import type { Key } from '../../../market/units.ts'
import { contentOfBody } from '../../store/body.ts'
import type { KeyValue, Snapshot } from '../../store/database.ts'
import * as keys from '../../store/keys.ts'
import { timeOf } from '../../store/place.ts'
import { endOf } from '../../store/records.ts'
import { Counters, Expiry, type Head, IndexRow, type StoredHead } from '../../store/rows.ts'
import type { Findings } from './findings.ts'

/** Bodies are read one by one; after so many bytes others have their turn. */
const turnBytes = 1 << 20

export class HeadsCheck {
  readonly #snapshot: Snapshot
  readonly #owner: Key
  readonly #findings: Findings
  records = 0
  #bytes = 0
  #read = 0

  constructor(snapshot: Snapshot, owner: Key, findings: Findings) {
    this.#snapshot = snapshot
    this.#owner = owner
    this.#findings = findings
  }

  async look(recordId: string, head: Head): Promise<void> {
    this.#lookForExpiry(recordId, head)
    if (head.state === 'deleted') return
    this.records++
    this.#bytes += head.bytes
    this.#lookForBody(recordId, head)
    this.#lookForOutbox(recordId, head)
    this.#lookAtPrice(recordId, head)
    if (this.#read >= turnBytes) {
      this.#read = 0
      await setImmediate()
    }
  }

  /** @param row the counters of the owner */
  finish(row: KeyValue | undefined): void {
    const found = row === undefined ? nothing : this.#findings.read(Counters, ...row, keys.ownerKeyBytes)
    if (found === undefined) return
    const { records, bytes } = found
    if (records === this.records && bytes === this.#bytes) return
    const counted = `${records} records of ${bytes} bytes`
    this.#findings.say(
      `the counters of ${this.#owner} are ${counted}, there are ${this.records} of ${this.#bytes} bytes`,
    )
  }

  #lookForBody(recordId: string, { place, bytes }: StoredHead): void {
    const key = keys.bodyKey(place)
    const body = this.#snapshot.get(key)
    if (body === undefined) {
      this.#say(recordId, `it has no body at place ${place}`)
      return
    }
    this.#read += body.length
    const content = this.#findings.read({ decode: contentOfBody }, key, body)
    if (content !== undefined && content.length !== bytes)
      this.#say(recordId, `its body has ${content.length} bytes and must have ${bytes}`)
  }

  #lookForOutbox(recordId: string, { place, bytes, receiver }: StoredHead): void {
    const key = keys.placeKey(keys.outboxPrefix(this.#owner), place)
    const value = this.#snapshot.get(key)
    if (value === undefined) this.#say(recordId, `it is not in the outbox at place ${place}`)
    const row = value && this.#findings.read(IndexRow, key, value)
    if (row === undefined) return
    const isIts = row.recordId === recordId && row.bytes === bytes && row.other === receiver
    if (!isIts) this.#say(recordId, `the outbox has another record at place ${place}`)
  }

  #lookForExpiry(recordId: string, head: Head): void {
    const end = endOf(head)
    const key = keys.expiryKey(end, head.place)
    const value = this.#snapshot.get(key)
    if (value === undefined) this.#say(recordId, `nothing will end it at ${end}`)
    const row = value && this.#findings.read(Expiry, key, value)
    if (row !== undefined && (row.owner !== this.#owner || row.recordId !== recordId))
      this.#say(recordId, `what is to end it at ${end} is about ${row.recordId} of ${row.owner}`)
  }

  #lookAtPrice(recordId: string, head: StoredHead): void {
    const { place, bytes, paidUntil, maxPulls, pullsLeft, bilateralLeft, reserved } = head
    const most = ceilSatoshi(worstUnits({ bytes, at: timeOf(place), paidUntil, maxPulls, prices: head }))
    if (reserved !== String(most))
      this.#say(recordId, `its receipt says that ${reserved} satoshi were reserved, not ${most}`)
    for (const left of [pullsLeft, bilateralLeft])
      if (left > maxPulls) this.#say(recordId, `${left} of ${maxPulls} pulls are left`)
  }

  #say(recordId: string, what: string): void {
    this.#findings.say(`the record ${recordId} of ${this.#owner}: ${what}`)
  }
}

const nothing = { records: 0, bytes: 0 }
