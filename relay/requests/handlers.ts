/** One handler per request of the protocol (docs/protocol.md §4.2). Signatures, freshness and replay were checked before. */
import type { Request, RequestOf, RequestType } from '../../contracts/api.ts'
import type { Sealed } from '../../market/envelope.ts'
import type { SealedRecord, Write } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Accounts } from '../accounts.ts'
import type { Admitted } from '../admission.ts'
import type { Limits } from '../limits.ts'
import type { Subscriber } from '../live.ts'
import type { Store } from '../store/store.ts'
import type { Till } from '../till/till.ts'
import type { Turns } from '../turns.ts'
import type { Contracts } from '../escrow/contracts.ts'
import { contractBytes, contractHandlers } from './contracts.ts'
import * as listings from './listings.ts'
import * as records from './records.ts'
import { UsageReports } from './usage.ts'
import { withdraw, withdrawalBytes } from './withdraw.ts'

/** One connection, or one HTTP request, in whose order acts take effect. */
export interface Session {
  /** Network address that limits count by. */
  readonly address: string
  /** Where pushes go; a `listen` needs one. */
  readonly subscriber?: Subscriber
  /** Told who speaks, before anything is done; rejects with ERR_BUSY where only known identities are served. */
  readonly welcome?: (identity: Key) => Promise<void> | undefined
  /** The order in which what it asks takes effect; a lone request needs none. */
  readonly turns?: Turns
  /** Makes room in the answer for so many bytes of content before they are pulled; throws ERR_LIMIT where there is none. */
  readonly makeRoom?: (bytes: number) => void
  /** How many index entries its listings may still examine together. */
  readonly examine?: { left: number }
}

/** A found record is answered by its own envelope; everything else by fields of a reply. */
export type Answer =
  | { readonly record: string }
  | { readonly body: Record<string, unknown>; readonly sent?: () => void }

export interface HandlerDeps {
  readonly store: Store
  readonly limits: Limits
  readonly now: () => number
  readonly accounts: Accounts
  /** Undefined where no chain is seen. */
  readonly till: () => Till | undefined
  readonly contracts: () => Contracts | undefined
  /** Refuse, with ERR_BUSY, what the disk has no room for, or the clock no time: what acts is billed by it. */
  readonly admitWrite: (bytes: number) => void
  readonly admitRead: () => void
  readonly admitEnd: () => void
}

export interface Message<T extends RequestType> {
  readonly request: RequestOf<T>
  readonly from: Key
  readonly sealed: Sealed<Request | Write>
  readonly record: SealedRecord | undefined
}
type Handler<T extends RequestType> = (message: Message<T>, session: Session) => Promise<Answer>
type Table = { readonly [T in RequestType]: Handler<T> }

const acts: ReadonlySet<RequestType> = new Set<RequestType>([
  'write',
  'store',
  'read',
  'delete',
  'prove',
  'withdraw',
  'contractOpen',
  'ContractClientSigned',
  'ContractPayment',
  'ContractPaymentRefused',
  'ContractRefundPayment',
  'ContractRollover',
  'ContractState',
])

export class Handlers {
  readonly #deps: HandlerDeps
  readonly #table: Table
  readonly #usage: UsageReports

  constructor(deps: HandlerDeps) {
    this.#deps = deps
    this.#usage = new UsageReports(deps)
    this.#table = {
      write: ({ record }, session) => records.write(deps, record!, session), // admission made it
      store: (message, session) => records.storeRecord(deps, message, session),
      read: (message, session) => records.read(deps, message, session),
      inventory: (message, session) => listings.inventory(deps, message, session),
      listen: (message, session) => listings.listen(deps, message, session),
      delete: (message) => records.deleteRecord(deps, message),
      prove: (message) => records.prove(deps, message),
      account: (message, session) => listings.account(deps, message, session),
      RequestUsage: (message, session) => this.#usage.answer(message, session),
      extensions: (message, session) => listings.extensions(deps, message, session),
      withdraw: (message) => withdraw(deps, message),
      ...contractHandlers(deps),
      quote: async ({ request, from }) => ({
        body: { result: deps.accounts.quoteFor(from, request, deps.now()) },
      }),
    }
  }

  /** Whether this identity has records of its own here, or credit. */
  hasAccount(identity: Key): boolean {
    return this.#deps.store.counters(identity).records > 0 || this.#deps.accounts.has(identity)
  }

  /** Carries a message out, in the session's order. */
  perform({ sealed, record }: Admitted, session: Session): Promise<Answer> {
    const { request, from } = sealed.msg
    const handler = this.#table[request.type] as Handler<RequestType> // the table has the handler of each type
    const begin = () => handler({ request, from, sealed, record }, session)
    const { turns } = session
    if (turns === undefined) return begin()
    return acts.has(request.type) ? turns.act(begin) : turns.list(begin)
  }

  /** An upper bound on the bytes of the answer without a record's content, known before anything is done for it (§3.5). */
  answerBytes({ sealed }: Admitted): number {
    const { request } = sealed.msg
    if (request.type === 'inventory' || request.type === 'account' || request.type === 'extensions')
      return answerOverhead + listings.pageSize(this.#deps.limits, request.limit) * entryBytes
    if (request.type === 'RequestUsage') return answerOverhead + this.#usage.answerBytes(request)
    if (request.type === 'withdraw') return answerOverhead + withdrawalBytes
    if (request.type.toLowerCase().startsWith('contract')) return answerOverhead + contractBytes
    return answerOverhead
  }
}

/** An envelope or a refusal without its record or entries, and one entry of a page, at their longest: a tag of 128 quotes is 256. */
export const answerOverhead = 4096
export const entryBytes = 704
