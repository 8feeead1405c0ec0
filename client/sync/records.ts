/** Records of a folder's other copies, each from the first relay that has it. */
import type { RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import { decodePayload } from '../../market/payload.ts'
import { formatPath, type RecordId, type SealedRecord } from '../../market/record.ts'
import type { Context } from '../context.ts'
import type { KeptFolder, Place } from '../home/folders.ts'
import { readFrom } from '../files/pieces.ts'
import { noteRead } from '../mail/acks.ts'
import type { CallOptions } from '../wire/connection.ts'

export type Failures = { relay: string; error: Error }[]

/** A folder, whose other copies are where. */
export interface Share {
  readonly ctx: Context
  readonly place: Place
  readonly folder: KeptFolder
  /** The relays of its peer. */
  readonly relays: readonly RelayAddress[]
  readonly options: CallOptions
}

/** Who failed where none gave what was wanted. */
export const urlsOf = ({ relays }: Pick<Share, 'relays'>): string => relays.map(({ url }) => url).join(' ')

/** What a record of pieces carries. @throws ERR_NOT_FOUND where no relay has it, ERR_MALFORMED, and as `call` */
export async function readPack(share: Share, id: RecordId): Promise<Uint8Array> {
  const { peer } = share.folder
  const path = formatPath({ owner: peer, receiver: share.ctx.wallet.identity, recordId: id })
  const { payload, bytes } = await readRecord(share, path)
  if (payload.type !== 'chunk') throw new MarketError('ERR_MALFORMED', 'a record of pieces is none')
  return bytes
}

/** A record from whichever relay gives it first; its owner is told. @throws as `readPack` */
export async function readRecord({ ctx, relays, options }: Share, path: string) {
  const arrived = await readFrom({ ctx, sources: relays, options }, path)
  const { record } = arrived
  const opened = await openRecord(ctx, record)
  if (record.msg.from !== ctx.wallet.identity) await noteRead(ctx, arrived)
  const source = relays.find(({ key }) => key === arrived.relay)! // it came from one of them
  await ctx.connect(source).finishRead(path)
  return { ...opened, record }
}

async function openRecord({ wallet }: Context, record: SealedRecord) {
  const { from, request } = record.msg
  const plaintext = await wallet.decrypt(record.content, { recordId: request.recordId, counterparty: from })
  return decodePayload(plaintext)
}
