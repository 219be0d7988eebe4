"""A small server that speaks enough of the Hugging Face Hub's HTTP interface for its own client, over loopback: `chatward` is tested against it as against the Hub."""
