/**
 * A relay that cheats: it stands before an honest one, with that one's key, and can sign what it likes. What it passes on
 * unchanged is real.
 */
import { createServer, request as ask, type IncomingMessage, type Server } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { UsageReport, type UsagePull, usageAfter } from '../../contracts/usage.ts'
import { openKeyFile } from '../../contracts/wallet/key-file.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { billedBytes, egressUnits, floorSatoshi } from '../../market/price.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { canonicalize } from '../../market/canonical.ts'
import { sealText } from '../../market/envelope.ts'

export class Cheat {
  readonly url: string
  readonly #server: Server
  readonly #honest: { url: string }
  #keys: KeyWallet | undefined
  #egressGB = 0

  private constructor(server: Server, honest: { url: string }) {
    this.#server = server
    this.#honest = honest
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  /** Passes everything on, until it is told to cheat. */
  static async before(honest: { url: string }): Promise<Cheat> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const cheat = new Cheat(server, honest)
    server.on('request', (given, answer) => {
      cheat.#pass(given).then(
        ({ status, headers, body }) => answer.writeHead(status, headers).end(body),
        () => answer.destroy(),
      )
    })
    return cheat
  }

  /** From now on it bills the newest pull of every report twice. `keyFile`, `egressGB`: of the relay behind it. */
  async begin(keyFile: string, egressGB: number): Promise<void> {
    this.#keys = await openKeyFile(keyFile)
    this.#egressGB = egressGB
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  async #pass(given: IncomingMessage) {
    const text = await bodyOf(given)
    const { method, url, headers } = given
    const passed = ask(`${this.#honest.url}${url}`, { method, headers })
    passed.end(text)
    const [answer] = (await once(passed, 'response')) as [IncomingMessage]
    const body = await bodyOf(answer)
    const isReport = text.includes('"type":"RequestUsage"') && answer.statusCode === 200
    const keys = isReport ? this.#keys : undefined
    const sent = keys === undefined ? body : await overstate(body.toString(), keys, this.#egressGB)
    const fields = { ...answer.headers, 'content-length': String(Buffer.byteLength(sent)) }
    return { status: answer.statusCode ?? 500, headers: fields, body: sent }
  }
}

/** The report with its last pull once more, with totals and chain to match, signed again. */
async function overstate(text: string, keys: KeyWallet, egressGB: number): Promise<string> {
  const { msg } = JSON.parse(text) as { msg: { to: string; timestamp: number; nonce: string; request: any } }
  const report = UsageReport.parse(msg.request.result)
  const last = report.pulls.at(-1)
  if (last === undefined || msg.request.more) return text
  const again: UsagePull = { ...last, seq: last.seq + 1, at: last.at + 1 }
  const changed = {
    ...report,
    pulls: [...report.pulls, again],
    count: report.count + 1,
    chain: toHex(usageAfter(fromHex(report.chain), again)),
    egress: String(BigInt(report.egress) + BigInt(billedBytes(last.bytes))),
    owed: String(BigInt(report.owed) + BigInt(floorSatoshi(egressUnits(last.bytes, { egressGB })))),
    ...(report.reads && { reads: [...report.reads, report.reads.at(-1) ?? null] }),
  }
  const { to, timestamp, nonce } = msg
  const requestText = canonicalize({ ...msg.request, result: changed })
  return (await sealText({ to, timestamp, nonce, requestText }, keys)).text
}

async function bodyOf(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}
