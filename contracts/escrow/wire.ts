/** The requests about contracts and what answers them, for the table of all requests (contracts/api.ts). */
import { z } from 'zod'
import {
  ContractClientSigned,
  ContractClosed,
  ContractFunded,
  ContractOpen,
  ContractPaid,
  ContractPayment,
  ContractPaymentRefused,
  ContractRefundPayment,
  ContractRollover,
  ContractServerAddInputs,
  ContractState,
  ContractStateReply,
} from './messages.ts'

export const contractRequests = [
  ContractOpen,
  ContractClientSigned,
  ContractPayment,
  ContractPaymentRefused,
  ContractRefundPayment,
  ContractRollover,
  ContractState,
] as const

/** What stands beside `type` and `re`. */
export const contractReplies = {
  contractOpen: z.object({ result: ContractServerAddInputs }),
  ContractClientSigned: z.object({ result: ContractFunded }),
  ContractPayment: z.object({ result: ContractPaid }),
  ContractPaymentRefused: z.object({ result: ContractPaid }),
  ContractRefundPayment: z.object({ result: ContractClosed }),
  ContractRollover: z.object({ result: ContractFunded }),
  ContractState: z.object({ result: ContractStateReply }),
} as const
