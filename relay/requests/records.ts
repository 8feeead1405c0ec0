/** Records: written, read, deleted, proven (docs/protocol.md §4.2). */
import { MarketError } from '../../market/errors.ts'
import { isBoxId, parsePath, type SealedRecord } from '../../market/record.ts'
import { protocolLimits } from '../../market/units.ts'
import type { Sealed } from '../../market/envelope.ts'
import type { Answer, HandlerDeps, Message, Session } from './handlers.ts'

export async function write(deps: HandlerDeps, record: SealedRecord, { address }: Session): Promise<Answer> {
  const { store, accounts, limits, now, admitWrite } = deps
  if (record.expires <= now()) throw new MarketError('ERR_EXPIRED', 'the record has expired')
  if (record.content.length > limits.recordBytes) {
    throw new MarketError('ERR_TOO_LARGE', `a record has at most ${limits.recordBytes} bytes here`)
  }
  if (record.msg.request.ttl > limits.ttl) {
    throw new MarketError('ERR_LIMIT', `a record lives at most ${limits.ttl} seconds here`)
  }
  if (isBoxId(record.msg.request.recordId))
    throw new MarketError('ERR_MALFORMED', 'such an id is that of a message in a box')
  const { expires, maxPulls } = record
  const bytes = record.content.length
  accounts.checkMayWrite(record.msg.from, { bytes, at: now(), expires, maxPulls })
  admitWrite(bytes)
  const written = await store.write(record, (batch, offer) => accounts.terms(batch, offer, address))
  switch (written.outcome) {
    case 'stored':
    case 'duplicate':
      return { body: { result: true, receipt: written.receipt } }
    case 'conflict':
      throw new MarketError('ERR_CONFLICT', 'another record has, or lately had, this id')
    case 'expired':
      throw new MarketError('ERR_EXPIRED', 'the record has expired')
  }
}

export async function storeRecord(
  deps: HandlerDeps,
  { from, record }: Message<'store'>,
  session: Session,
): Promise<Answer> {
  const inner = record! // admission made it
  if (inner.msg.from !== from) throw new MarketError('ERR_FORBIDDEN', 'only its owner may store a record')
  if (inner.msg.timestamp > deps.now() + protocolLimits.freshFutureMs) {
    throw new MarketError('ERR_MALFORMED', 'the record is from the future')
  }
  return write(deps, inner, session)
}

export async function read(
  { store, admitRead, contracts }: HandlerDeps,
  { request, from, sealed }: Message<'read'>,
  { makeRoom }: Session,
): Promise<Answer> {
  const path = parsePath(request.path)
  if (path.receiver !== from) throw new MarketError('ERR_FORBIDDEN', 'only its receiver may read a record')
  const until = freshUntil(sealed)
  admitRead()
  const found = await store.read({
    path,
    hash: sealed.hash,
    text: sealed.text,
    until,
    isCovered: (from, pull) => contracts()?.isCovered(from, pull) ?? true,
    admit: makeRoom && ((bytes) => makeRoom(Math.ceil(bytes / 3) * 4)),
  })
  switch (found.outcome) {
    case 'record':
      return { record: found.text }
    case 'absent':
      return { body: { result: null } }
    case 'unpaid':
      throw new MarketError('ERR_PAYMENT_REQUIRED', 'its owner does not pay for another pull of this record')
    case 'replayed':
      throw new MarketError('ERR_REPLAYED', 'this read was answered as often as it may be')
  }
}

export async function deleteRecord(
  { store, admitEnd }: HandlerDeps,
  { request, from, sealed }: Message<'delete'>,
): Promise<Answer> {
  const { recordId } = request
  admitEnd()
  const deleted = await store.delete({ owner: from, recordId, hash: sealed.hash, until: freshUntil(sealed) })
  return { body: { result: true, receipt: deleted.outcome === 'deleted' ? deleted.receipt : null } }
}

export async function prove(
  { store, admitRead }: HandlerDeps,
  { request, from, sealed }: Message<'prove'>,
): Promise<Answer> {
  const path = parsePath(request.path)
  if (path.owner !== from) throw new MarketError('ERR_FORBIDDEN', 'only its owner may have a record proven')
  const until = freshUntil(sealed)
  admitRead()
  const proven = await store.prove({ path, index: request.index, hash: sealed.hash, until })
  switch (proven.outcome) {
    case 'proof':
      return { body: { result: proven.proof } }
    case 'absent':
      throw new MarketError('ERR_NOT_FOUND', 'no such record is held')
    case 'unpaid':
      throw new MarketError('ERR_PAYMENT_REQUIRED', 'this record is paid for no longer')
    case 'replayed':
      throw new MarketError('ERR_REPLAYED', 'this message was accepted before')
  }
}

/** When a message stops being fresh, by what it says itself. */
const freshUntil = ({ msg }: Sealed): number => msg.timestamp + protocolLimits.freshPastMs
