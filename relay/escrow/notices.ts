/** What a relay says first of a contract: a signed envelope in a record of its own outbox (docs/protocol.md §7.3). */
import { randomBytes } from 'node:crypto'
import { toBase64, toHex } from '../../market/bytes.ts'
import { seal } from '../../market/envelope.ts'
import { RECORD_PROTOCOL } from '../../market/identity.ts'
import { encodePayload } from '../../market/payload.ts'
import { freePrices } from '../../market/price.ts'
import { decodeRecord } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { EscrowParts } from './parts.ts'

/** How long it waits for its reader, seconds. */
const noticeSeconds = 30 * 86_400
/** A lost answer costs a reader one of them. */
const noticePulls = 8

type Speaker = Pick<EscrowParts, 'store' | 'keys' | 'now'>

export interface Message {
  readonly type: string
  readonly contract: string
  readonly [field: string]: unknown
}

export interface Notice {
  readonly name: string
  readonly message: Message
}

/** Names that are known to be said, about 100 bytes each. */
const rememberedNames = 10_000

/** Says each name once: what was said is in memory, to do less, and in the outbox while it waits. */
export class Notices {
  readonly #parts: Speaker
  readonly #said = new Set<string>()

  constructor(parts: Speaker) {
    this.#parts = parts
  }

  isSaid(name: string): boolean {
    return this.#said.has(name)
  }

  async say(to: Key, notice: Notice): Promise<void> {
    if (this.isSaid(notice.name)) return
    await tell(this.#parts, to, notice)
    if (this.#said.size >= rememberedNames) this.#said.clear()
    this.#said.add(notice.name)
  }
}

async function tell({ store, keys, now }: Speaker, to: Key, { name, message }: Notice): Promise<void> {
  const timestamp = now()
  const nonce = toHex(randomBytes(8))
  const { msg } = await seal({ to, timestamp, nonce, request: message }, keys)
  const content = keys.encryptBytes(encodePayload({ type: 'envelope', msg }), {
    protocolID: RECORD_PROTOCOL,
    keyID: name,
    counterparty: to,
  })
  const request = {
    type: 'write' as const,
    recordId: name,
    ttl: noticeSeconds,
    tag: 'contract',
    content: toBase64(content),
    relays: [keys.identity],
    maxPulls: noticePulls,
  }
  const record = decodeRecord((await seal({ to, timestamp, request }, keys)).text)
  // Each sealing is another record, so that what was said before is a conflict, and stays.
  await store.write(record, (_, { expires }) => ({ purse: 'credit', prices: freePrices, paidUntil: expires }))
}
