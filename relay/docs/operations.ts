/** What this relay answers over HTTP to clients of the BSV stack, once: for openapi.json and for the page that people read. */
import { z } from 'zod'
import { Cursor, Entry, Info } from '../../contracts/api.ts'
import { Deposited, DepositRequest, NamedWithdrawal, Withdrawal } from '../../contracts/payment.ts'
import { DeleteReceipt } from '../../contracts/receipt.ts'
import { Advert } from '../../market/advert.ts'
import { RecordEnvelope } from '../../market/record.ts'
import * as boxes from './box-schemas.ts'

export interface Operation {
  readonly method: 'get' | 'post' | 'put' | 'delete'
  readonly path: string
  readonly tag: string
  readonly summary: string
  /** Names of what may stand in the query; those with `!` must. */
  readonly query?: readonly string[]
  readonly body?: z.ZodType
  readonly answer: z.ZodType
  /** Anybody may ask; else whoever has proved who he is (BRC-103/104). */
  readonly isOpen?: true
}

/** What this relay has. */
export interface Has {
  readonly boxes: boolean
  readonly till: boolean
  readonly board: boolean
  readonly phip: boolean
  readonly authorizing: boolean
}

const success = { status: z.literal('success') }
const Listed = z.object({ ...success, records: z.array(Entry), cursor: Cursor, more: z.boolean() })
const Removed = z.object({ ...success, receipt: DeleteReceipt.nullable() })
const Stored = z.object({ ...success, reply: z.looseObject({}).describe('the relay’s signed envelope') })
const Adverts = z.object({ adverts: z.array(Advert), cursor: Cursor, more: z.boolean() })
const Offered = z.object({ ...success, outcome: z.enum(['added', 'replaced', 'known', 'older']) })

const record = '/{owner}/outbox/{receiver}/{recordId}'
const listing = ['cursor', 'afterTs', 'beforeTs', 'tag', 'limit']

const relayOps: readonly Operation[] = [
  op('get', '/.well-known/relay', 'Relay', 'What this relay is, and its limits', {
    answer: Info,
    isOpen: true,
  }),
]
const boxOps: readonly Operation[] = [
  op('post', '/sendMessage', 'Message boxes', 'Leave a message for one or more recipients', {
    body: boxes.SendMessage,
    answer: boxes.MessageSent,
  }),
  op('post', '/listMessages', 'Message boxes', 'List a box of yours, oldest first', {
    body: boxes.ListMessages,
    answer: boxes.MessagesListed,
  }),
  op('post', '/acknowledgeMessage', 'Message boxes', 'End messages that were sent to you', {
    body: boxes.AcknowledgeMessage,
    answer: boxes.MessagesAcknowledged,
  }),
  op('post', '/permissions/set', 'Permissions', 'Say who may send into a box, and for how much', {
    body: boxes.SetPermission,
    answer: boxes.PermissionSet,
  }),
  op('get', '/permissions/get', 'Permissions', 'What a recipient has said', {
    query: ['recipient!', 'messageBox!', 'sender'],
    answer: boxes.PermissionGot,
  }),
  op('get', '/permissions/list', 'Permissions', 'All that you have said', {
    query: ['messageBox', 'limit', 'offset'],
    answer: boxes.PermissionsListed,
  }),
  op('get', '/permissions/quote', 'Permissions', 'What a message would cost; recipient may be repeated', {
    query: ['recipient!', 'messageBox!'],
    answer: boxes.Quote,
  }),
  op('post', '/registerDevice', 'Devices', 'Register a device for notices', {
    body: boxes.RegisterDevice,
    answer: boxes.DeviceRegistered,
  }),
  op('get', '/devices', 'Devices', 'Your devices', { answer: boxes.Devices }),
]
const phipOps: readonly Operation[] = [
  op('post', '/propagateMessage', 'Other hosts', 'Bring what somebody signed to where its recipient lives', {
    body: boxes.PropagateMessage,
    answer: boxes.Done,
  }),
]
const authorizingOps: readonly Operation[] = [
  op('post', '/authorizeRouting', 'Other hosts', 'Let this relay take messages for you', {
    body: boxes.AuthorizeRouting,
    answer: boxes.Done,
  }),
]
const recordOps: readonly Operation[] = [
  op('put', record, 'Records', 'Store a signed record', { body: RecordEnvelope, answer: Stored }),
  op('get', record, 'Records', 'Read a record', { answer: RecordEnvelope }),
  op('delete', record, 'Records', 'Delete a record', { answer: Removed }),
  op('get', '/{owner}/outbox/{receiver}/', 'Records', 'List what one has for another', {
    query: listing,
    answer: Listed,
  }),
  op('get', '/inbox/', 'Records', 'List what is for you', { query: [...listing, 'owner'], answer: Listed }),
]
const tillOps: readonly Operation[] = [
  op('post', '/deposit', 'Credit', 'Pay for credit; asks for the payment by 402', {
    body: DepositRequest,
    answer: z.object({ ...success, ...Deposited.shape }),
  }),
  op('post', '/withdraw', 'Credit', 'Have credit paid back', {
    body: NamedWithdrawal,
    answer: z.object({ ...success, ...Withdrawal.shape }),
  }),
]
const boardOps: readonly Operation[] = [
  op('post', '/adverts', 'Board', 'Bring the advert of a relay', {
    body: Advert,
    answer: Offered,
    isOpen: true,
  }),
  op('get', '/adverts', 'Board', 'Adverts, in the order in which they came', {
    query: ['limit', 'network', 'cursor'],
    answer: Adverts,
    isOpen: true,
  }),
]

export const operationsOf = ({ boxes: hasBoxes, till, board, phip, authorizing }: Has): Operation[] => [
  ...relayOps,
  ...(hasBoxes ? boxOps : []),
  ...(phip ? phipOps : []),
  ...(authorizing ? authorizingOps : []),
  ...recordOps,
  ...(till ? tillOps : []),
  ...(board ? boardOps : []),
]

function op(
  method: Operation['method'],
  path: string,
  tag: string,
  summary: string,
  rest: Pick<Operation, 'query' | 'body' | 'answer' | 'isOpen'>,
): Operation {
  return { method, path, tag, summary, ...rest }
}
