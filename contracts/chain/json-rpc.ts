/** JSON-RPC 1.0 as bitcoind speaks it. */
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import { type Address, type HttpOptions, HttpServer, parseJson, reasonOf } from './http.ts'
import { RpcError } from './rpc-error.ts'

const Reply = z.object({
  result: z.unknown(),
  error: z.object({ code: z.int(), message: z.string() }).nullish(),
})

export interface CallOptions {
  /** Default true: asked once more when the connection breaks. */
  readonly again?: boolean
  readonly answerBytes?: number
  readonly timeoutMs?: number
}

export class JsonRpc {
  readonly server: HttpServer
  readonly #authorization: string | undefined
  #id = 0

  constructor({ url, user, password }: Address, options: HttpOptions = {}) {
    this.server = new HttpServer({ url, ...options })
    this.#authorization =
      user === '' && password === ''
        ? undefined
        : `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  }

  /**
   * @param schema what the result must be
   * @throws RpcError what the node reports; ERR_CHAIN_UNAVAILABLE without its answer; ERR_INTERNAL when the answer is of
   * another form
   */
  async call<T>(method: string, params: readonly unknown[], schema: z.ZodType<T>, options: CallOptions = {}) {
    const { again = true, ...bounds } = options
    const id = ++this.#id
    const answer = await this.server.ask({
      method: 'POST',
      path: '/',
      headers: {
        'content-type': 'application/json',
        ...(this.#authorization !== undefined && { authorization: this.#authorization }),
      },
      body: JSON.stringify({ jsonrpc: '1.0', id, method, params }),
      again,
      ...bounds,
    })
    if (answer.status === 401 || answer.status === 403)
      throw this.server.unavailable('does not accept the name and password in its address')
    const reply = Reply.safeParse(parseJson(this.server, answer))
    if (!reply.success) throw this.server.unavailable(`answers ${method} with something that is not JSON-RPC`)
    const { error, result } = reply.data
    if (error) throw new RpcError(error.code, reasonOf(error.message))
    return this.believe(schema, result, method)
  }

  /** @throws ERR_INTERNAL */
  believe<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
    const parsed = schema.safeParse(value)
    if (parsed.success) return parsed.data
    const where = parsed.error.issues[0]?.path.join('.') ?? ''
    throw this.incredible(`its answer to ${what} is not of the expected form ${where && `(${where})`}`.trim())
  }

  /** An answer that is not to be believed. */
  incredible(sentence: string): MarketError {
    return new MarketError('ERR_INTERNAL', `${this.server.shown}: ${sentence}`)
  }
}
