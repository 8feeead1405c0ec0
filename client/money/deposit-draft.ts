/** The payment of a deposit while it is nobody's but ours: signed, on disk, not sent. */
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

/** @throws ERR_COST */
export function checkCost(satoshis: number, maxCost: number | undefined): void {
  if (maxCost !== undefined && satoshis > maxCost)
    throw new ClientError('ERR_COST', `this costs ${satoshis} satoshi, more than the ${maxCost} allowed`)
}

/** On disk before and after it is signed; not sent. */
export async function sign(
  ctx: Context,
  {
    relay,
    payer,
    asked,
    maxCost,
  }: { relay: RelayAddress; payer: Payer; asked: Asked; maxCost: number | undefined },
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
          ...{ satoshis, lockingScript, outputDescription: 'deposit' },
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

/** What was signed and not kept was seen by nobody. */
export async function dropDraft(
  ctx: Context,
  { relay, payer, draft }: { relay: RelayAddress; payer: Payer; draft: OpenDeposit },
): Promise<void> {
  const { actions } = await payer.listActions({ labels: [draft.label] })
  for (const { txid, status } of actions)
    if (status === 'nosend') await payer.abortAction({ reference: txid })
  await forgetDeposit(ctx.home, relay.key)
}

/** @throws ERR_CONFLICT when the network has it */
export async function takeBack(
  ctx: Context,
  { relay, payer, open }: { readonly relay: RelayAddress; readonly payer: Payer; readonly open: OpenDeposit },
): Promise<void> {
  const { txid } = open.signed! // drafts are dropped
  await payer.abortAction({ reference: txid }).catch((error: unknown) => {
    if (codeOf(error) !== 'ERR_CONFLICT') throw error
    const what = `the network has the payment ${txid}: it is not taken back, but presented again`
    throw new MarketError('ERR_CONFLICT', what, { cause: error })
  })
  await forgetDeposit(ctx.home, relay.key)
}
