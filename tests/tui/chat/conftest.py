"""The fixtures of the chat's tests."""

from chat_app import chat

__all__ = ["chat"]
