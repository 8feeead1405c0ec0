/** The payment of a deposit while it is nobody's but ours: signed, on disk, not sent. */
import type { WebPayment } from '../../contracts/payment.ts'
import { formatAddress, type RelayAddress } from '../../market/address.ts'
import { toBase64, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256 } from '../../market/hash.ts'
import type { Context } from '../context.ts'
import { ClientError, codeOf } from '../errors.ts'
import { forgetDeposit, type OpenDeposit, saveDeposit } from '../home/payments.ts'
import { feeIn } from './connected.ts'
import type { Payer } from './payer.ts'
import type { Asked } from './web-session.ts'

interface Paying {
  readonly relay: RelayAddress
  readonly payer: Payer
}

/** @throws ERR_COST */
export function checkCost(satoshis: number, maxCost: number | undefined): void {
  if (maxCost !== undefined && satoshis > maxCost)
    throw new ClientError('ERR_COST', `this costs ${satoshis} satoshi, more than the ${maxCost} allowed`)
}

/**
 * Signs what was asked; on disk before and after that, and not sent.
 * @throws ERR_COST with the fee above `maxCost`, ERR_UNSUPPORTED for a wallet that does not show what it signed; what the wallet
 * says. Then nothing is left of it
 */
export async function sign(
  ctx: Context,
  { relay, payer, asked, maxCost }: Paying & { asked: Asked; maxCost: number | undefined },
): Promise<OpenDeposit> {
  const { satoshis, derivationPrefix, derivationSuffix, lockingScript } = asked
  const names = { derivationPrefix, derivationSuffix }
  const label = `deposit ${toHex(sha256(JSON.stringify(names))).slice(0, 32)}`
  const draft: OpenDeposit = { relay: formatAddress(relay), satoshis, label, ...names }
  await saveDeposit(ctx.home, draft)
  try {
    const { txid, tx } = await payer.createAction({
      description: 'deposit at a relay',
      labels: ['relay', label],
      outputs: [
        {
          satoshis,
          lockingScript,
          outputDescription: 'deposit',
          customInstructions: JSON.stringify({ ...names, payee: relay.key }),
        },
      ],
      options: { randomizeOutputs: false, noSend: true },
    })
    if (txid === undefined || tx === undefined)
      throw new ClientError('ERR_UNSUPPORTED', 'the wallet does not show the payment that it signed')
    const fee = feeIn(tx)
    checkCost(satoshis + (fee ?? 0), maxCost)
    const open = { ...draft, signed: { txid, tx: toBase64(Uint8Array.from(tx)), fee } }
    await saveDeposit(ctx.home, open)
    return open
  } catch (error) {
    // Where that fails, the next call does it.
    await dropDraft(ctx, { relay, payer, draft }).catch(() => undefined)
    throw error
  }
}

/** What the relay is shown of one that is signed. */
export const paymentOf = ({ derivationPrefix, derivationSuffix, signed }: OpenDeposit): WebPayment => ({
  derivationPrefix,
  derivationSuffix,
  transaction: signed!.tx, // by the caller
})

/** What was signed and not kept was seen by nobody. */
export async function dropDraft(
  ctx: Context,
  { relay, payer, draft }: Paying & { draft: OpenDeposit },
): Promise<void> {
  const { actions } = await payer.listActions({ labels: [draft.label] })
  for (const { txid, status } of actions)
    if (status === 'nosend') await payer.abortAction({ reference: txid })
  await forgetDeposit(ctx.home, relay.key)
}

/** @throws ERR_CONFLICT when the network has it */
export async function takeBack(
  ctx: Context,
  { relay, payer, open }: Paying & { open: OpenDeposit },
): Promise<void> {
  const { txid } = open.signed! // drafts are dropped
  await payer.abortAction({ reference: txid }).catch((error: unknown) => {
    if (codeOf(error) !== 'ERR_CONFLICT') throw error
    const what = `the network has the payment ${txid}: it is not taken back, but presented again`
    throw new MarketError('ERR_CONFLICT', what, { cause: error })
  })
  await forgetDeposit(ctx.home, relay.key)
}
