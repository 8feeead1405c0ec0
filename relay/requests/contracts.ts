/** Escrow contracts (docs/protocol.md §11.4): the handlers only find the engine. */
import { MarketError } from '../../market/errors.ts'
import type { Contracts } from '../escrow/contracts.ts'
import type { Answer, HandlerDeps, Message, Session } from './handlers.ts'

/** A funding in hex, and BEEF of a stake in base64. */
export const contractBytes = 1 << 20

type Deps = Pick<HandlerDeps, 'contracts' | 'accounts' | 'limits'>

function engineOf({ contracts }: Deps): Contracts {
  const engine = contracts()
  if (engine === undefined)
    throw new MarketError('ERR_FORBIDDEN', 'this relay sees no chain: there are no contracts here')
  return engine
}

const answer = async (result: Promise<unknown>): Promise<Answer> => ({ body: { result: await result } })

export const contractHandlers = (deps: Deps) => ({
  contractOpen: async ({ request, from }: Message<'contractOpen'>, { address }: Session) => {
    // No coins are bound for service that there is no room for.
    deps.accounts.checkRoom(deps.limits.recordBytes)
    return answer(engineOf(deps).open(request, { from, address }))
  },
  ContractClientSigned: async ({ request, from }: Message<'ContractClientSigned'>, { address }: Session) =>
    answer(engineOf(deps).sign(request, { from, address })),
  ContractPayment: async ({ request, from }: Message<'ContractPayment'>) =>
    answer(engineOf(deps).pay(request, from)),
  ContractPaymentRefused: async ({ request, from }: Message<'ContractPaymentRefused'>) =>
    answer(engineOf(deps).refusePayment(request, from)),
  ContractRefundPayment: async ({ request, from }: Message<'ContractRefundPayment'>) =>
    answer(engineOf(deps).end(request, from)),
  ContractRollover: async ({ request, from }: Message<'ContractRollover'>) =>
    answer(engineOf(deps).renew(request, from)),
  ContractState: async ({ request, from }: Message<'ContractState'>) =>
    answer(engineOf(deps).state(request.contract, from)),
})
