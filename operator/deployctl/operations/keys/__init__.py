"""The keys of a service: what is asked, where they are kept, and how they change."""
