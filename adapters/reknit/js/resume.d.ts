/** What the proxy says first on each connection: its headers, as for a client that can read them. */
export type Greeting = Readonly<Record<string, string>>;

export interface ResumingOptions {
  /** Messages that are kept until they are confirmed (10,000). */
  limit?: number;
  /** Milliseconds until the first attempt to come back (500); twice as long for each next one. */
  retry?: number;
  /** Milliseconds between attempts, at most (15,000). Each is varied by half. */
  retryCap?: number;
  /** Milliseconds that an attempt may take (20,000). */
  timeout?: number;
  /** Whether a new session follows one that is over (false: the socket closes). */
  fresh?: boolean;
  /** What makes the connections: the global WebSocket, or that of the package ws. */
  WebSocket?: unknown;
}

/** The session is open: with `fresh` once for each. */
export interface ResumingOpenEvent extends Event {
  readonly greeting: Greeting;
  /** Messages of the session before that the server may or may not have. */
  readonly unconfirmed: readonly (string | ArrayBuffer | Blob)[];
}

export interface ResumingBackEvent extends Event {
  readonly greeting: Greeting;
}

export interface ResumingEventMap {
  open: ResumingOpenEvent;
  message: MessageEvent;
  error: Event;
  close: CloseEvent;
  /** The connection is lost; the socket is coming back. */
  away: Event;
  /** The session goes on. */
  back: ResumingBackEvent;
}

/** A WebSocket whose session outlives its connections: each message once, in order, both ways. */
export class ResumingWebSocket extends EventTarget {
  static readonly CONNECTING: 0;
  static readonly OPEN: 1;
  static readonly CLOSING: 2;
  static readonly CLOSED: 3;
  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSING: 2;
  readonly CLOSED: 3;

  /** A class for libraries that make their sockets themselves: these options hold for all. */
  static with(options: ResumingOptions): {
    new (url: string | URL, protocols?: string | string[]): ResumingWebSocket;
    readonly CONNECTING: 0;
    readonly OPEN: 1;
    readonly CLOSING: 2;
    readonly CLOSED: 3;
  };

  constructor(url: string | URL, protocols?: string | string[], options?: ResumingOptions);

  readonly url: string;
  readonly readyState: 0 | 1 | 2 | 3;
  readonly protocol: string;
  readonly extensions: string;
  readonly bufferedAmount: number;
  binaryType: BinaryType;

  /** The session's id, once it is open. */
  readonly id: string | null;
  /** Messages from the server. */
  readonly received: number;
  /** Messages of ours that the proxy is known to have. */
  readonly confirmed: number;
  /** Messages of ours that are sent and not confirmed. */
  readonly unconfirmed: number;
  /** Whether there is no connection at the moment. */
  readonly isAway: boolean;

  /** Its event is a ResumingOpenEvent; `any`, so that this is a WebSocket. */
  onopen: ((this: any, event: any) => any) | null;
  onmessage: ((this: any, event: MessageEvent) => any) | null;
  onerror: ((this: any, event: Event) => any) | null;
  onclose: ((this: any, event: CloseEvent) => any) | null;
  onaway: ((this: any, event: Event) => any) | null;
  onback: ((this: any, event: ResumingBackEvent) => any) | null;

  /** Sends now, or when there is a connection. Throws a RangeError when too much is unconfirmed. */
  send(data: string | ArrayBufferLike | Blob | ArrayBufferView): void;
  /** Ends the session, after what was sent before. */
  close(code?: number, reason?: string): void;
  /** Comes back on a new connection now. */
  comeBack(): void;

  addEventListener<T extends keyof ResumingEventMap>(
    type: T,
    listener: (this: ResumingWebSocket, event: ResumingEventMap[T]) => any,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<T extends keyof ResumingEventMap>(
    type: T,
    listener: (this: ResumingWebSocket, event: ResumingEventMap[T]) => any,
    options?: boolean | EventListenerOptions,
  ): void;
}
